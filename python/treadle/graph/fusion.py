"""Fused compositions: a name for several ops run in order.

    add_rmsnorm = fused("add_rmsnorm", ins="x y w", outs="sum normed",
                        parts=[part("add", "x y", "sum"), part("rmsnorm", "sum w", "normed")])

Its reference, shapes, attrs and costs are those of its parts, so it cannot disagree with them.
`?` marks an optional operand; a part with `when="w"` is left out where operand w is absent, its
output then being its first input. `context` parts must surround a match but stay outside it: they
tell apart operands that look alike, such as the three projections of one input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct

from treadle.errors import GraphError
from treadle.graph.dims import Dims
from treadle.graph.op import OPS, Attr, Attrs, AttrSpec, Op
from treadle.graph.signature import Kind


class Part(Struct, frozen=True):
    """One op of a composition; names are local to it. `attrs`: the op's attr -> the fused attr."""

    op: str
    ins: tuple[str, ...]
    outs: tuple[str, ...]
    when: str | None
    attrs: Mapping[str, str]

    @property
    def declared(self) -> Op:
        """The op's declaration."""
        return OPS[self.op]


class Step(Struct, frozen=True):
    """A part of a given node: optional operands and parts are settled, attrs are the op's own."""

    op: Op
    ins: tuple[str, ...]
    outs: tuple[str, ...]
    attrs: Attrs


def part(
    op: str,
    ins: str,
    outs: str,
    *,
    when: str | None = None,
    attrs: Mapping[str, str] | None = None,
) -> Part:
    """`part("rmsnorm", "sum w", "normed")`. Attrs keep their names unless `attrs` renames them."""
    renamed = {name: name for name in OPS[op].attrs} | dict(attrs or {})
    return Part(op, tuple(ins.split()), tuple(outs.split()), when, renamed)


class Fused(Struct, frozen=True, eq=False):
    """A composition. Made by `fused()`; attrs and writes follow from its parts."""

    name: str
    in_names: tuple[str, ...]
    out_names: tuple[str, ...]
    optional: frozenset[str]
    attrs: Mapping[str, AttrSpec]
    writes: Mapping[str, str]
    parts: tuple[Part, ...]
    context: tuple[Part, ...] = ()

    __hash__ = object.__hash__  # as eq=False says: each is its own

    def steps(self, operands: int, attrs: Attrs) -> tuple[Step, ...]:
        """The parts of a node with that many operands, in order."""
        return _steps(self, operands, tuple(attrs.items()))

    def check_attrs(self, given: Mapping[str, object], dims: Dims, at: str = "") -> dict[str, Attr]:
        """As `Op.check_attrs`."""
        shell = Op(self.name, (), (), dict(self.attrs), {})
        return shell.check_attrs(given, dims, at)

    def infer(
        self, kinds: Sequence[Kind], attrs: Attrs, dims: Dims, at: str = ""
    ) -> tuple[Kind, ...]:
        """dtype and shape of every output, by the parts' own rules. Raises GraphError (G05)."""
        required = len(self.in_names) - len(self.optional)
        if not required <= len(kinds) <= len(self.in_names):
            raise GraphError(
                f"G05 shapes: {self.name}: got {len(kinds)} operands",
                at=at or None,
                hint=f"it takes {', '.join(self.in_names)}",
            )
        local = dict(zip(self.in_names, kinds, strict=False))
        for step in self.steps(len(kinds), attrs):
            made = step.op.infer([local[name] for name in step.ins], step.attrs, dims, at)
            local.update(zip(step.outs, made, strict=True))
        return tuple(local[name] for name in self.out_names)

    def compute(self, xp: Any, *arrays: Any, **attrs: Any) -> Any:
        """The parts in order. One array, or a tuple where there are several outputs."""
        given = list(arrays)
        while given and given[-1] is None:
            given.pop()
        for name, spec in self.attrs.items():
            if spec.default is not None:
                attrs.setdefault(name, spec.default)
        local: dict[str, Any] = dict(zip(self.in_names, given, strict=False))
        for step in self.steps(len(given), attrs):
            made = step.op.compute(xp, *(local[name] for name in step.ins), **step.attrs)
            local.update(zip(step.outs, made if len(step.outs) > 1 else (made,), strict=True))
        outs = [local[name] for name in self.out_names]
        return tuple(outs) if len(outs) > 1 else outs[0]


FUSED: dict[str, Fused] = {}
"""Every composition by name; filled when `treadle.graph.fused` is imported."""


def fused(
    name: str, *, ins: str, outs: str, parts: Sequence[Part], context: Sequence[Part] = ()
) -> Fused:
    """Declares and registers a composition. Optional operands carry `?` and come last."""
    words = ins.split()
    optional = [word for word in words if word.endswith("?")]
    if name in FUSED or name in OPS:
        raise ValueError(f"{name} is declared twice")
    if optional != words[len(words) - len(optional) :]:
        raise ValueError(f"{name}: optional operands come last")
    declared = Fused(
        name,
        tuple(word.rstrip("?") for word in words),
        tuple(outs.split()),
        frozenset(word.rstrip("?") for word in optional),
        _attrs(parts),
        _writes(parts),
        tuple(parts),
        tuple(context),
    )
    FUSED[name] = declared
    return declared


def _attrs(parts: Sequence[Part]) -> dict[str, AttrSpec]:
    """Attrs of the parts; those of a part that may be absent default to zero."""
    found: dict[str, AttrSpec] = {}
    for piece in parts:
        for own, name in piece.attrs.items():
            spec = piece.declared.attrs[own]
            if piece.when is not None and spec.default is None:
                spec = AttrSpec(spec.kind, 0.0)
            found[name] = spec
    return found


def _writes(parts: Sequence[Part]) -> dict[str, str]:
    """Output -> operand whose buffer it reuses."""
    return {
        piece.outs[piece.declared.out_names.index(out)]: piece.ins[
            piece.declared.in_names.index(source)
        ]
        for piece in parts
        for out, source in piece.declared.writes.items()
    }


@lru_cache(maxsize=4096)
def _steps(composed: Fused, operands: int, items: tuple[tuple[str, Any], ...]) -> tuple[Step, ...]:
    attrs = dict(items)
    absent = set(composed.in_names[operands:])
    same: dict[str, str] = {}
    steps: list[Step] = []
    for piece in composed.parts:
        ins = tuple(same.get(name, name) for name in piece.ins)
        if piece.when is not None and piece.when in absent:
            same[piece.outs[0]] = ins[0]
            continue
        own = {name: attrs[outer] for name, outer in piece.attrs.items()}
        given = tuple(name for name in ins if name not in absent)
        steps.append(Step(piece.declared, given, piece.outs, own))
    return tuple(steps)
