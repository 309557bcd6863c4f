"""The declaration language: one `op(...)` says all that every later projection reads.

    rmsnorm = op("rmsnorm", ins={"x": "*n D", "w": "D f32"}, outs={"y": "*n D"},
                 attrs={"eps": float}, roles={"n": parallel, "D": reduce})

    @rmsnorm.reference
    def _(xp, x, w, *, eps): ...

From it follow the shape and dtype rule, the oracle, Definitions, task contracts, shard rules,
shader bindings and rooflines. A declaration knows none of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeAlias, cast

from msgspec import Struct, field

from treadle.errors import GraphError
from treadle.graph import expr
from treadle.graph.dims import Dims, Shape
from treadle.graph.signature import ACT, Binding, Kind, Operand
from treadle.graph.xp import namespace

Attr: TypeAlias = "float | int | str | bool | tuple[str | int, ...]"
Attrs: TypeAlias = "Mapping[str, Attr]"
Array: TypeAlias = Any
"""An array of whichever library the reference runs on."""


class Role(StrEnum):
    """What an axis means to whoever cuts the work of an op into pieces.

    parallel: an output index reads the same input index alone. reduce: summed over; needs its
    full extent or partial sums in a fixed order. ragged: pieces whose lengths are data. whole:
    needs its full extent, partial sums do not exist (a lookup, a softmax, a top-k).
    """

    PARALLEL = "parallel"
    REDUCE = "reduce"
    RAGGED = "ragged"
    WHOLE = "whole"


parallel, reduce, ragged, whole = Role.PARALLEL, Role.REDUCE, Role.RAGGED, Role.WHOLE


class AttrSpec(Struct, frozen=True):
    """Type of an attr: float, int, bool, a tuple of allowed words, "text", "dim" or "dims"."""

    kind: type | str | tuple[str, ...]
    default: Attr | None = None

    def check(self, value: object, dims: Dims) -> Attr:
        """Normalises a value, so that equal attrs have equal text. Raises ValueError."""
        match self.kind:
            case tuple() as words if isinstance(value, str) and value in words:
                return value
            case "text" if isinstance(value, str) and value:
                return value
            case "dim" if isinstance(value, str | int) and not isinstance(value, bool):
                dims.atoms(value)
                return value
            case "dims" if isinstance(value, list | tuple):
                return tuple(_entry(item, dims) for item in cast("list[object]", value))
            case _ if self.kind is bool and isinstance(value, bool):
                return value
            case _ if self.kind is int and isinstance(value, int) and not isinstance(value, bool):
                return value
            case _ if self.kind is float and _finite(value):
                return float(value)  # pyright: ignore[reportArgumentType]
            case _:
                raise ValueError(f"must be {self.describe()}, got {value!r}")

    def describe(self) -> str:
        """For error messages."""
        if isinstance(self.kind, tuple):
            return "one of " + " ".join(self.kind)
        names = {"text": "a word", "dim": "a dim", "dims": "a list of dims"}
        if isinstance(self.kind, str):
            return names[self.kind]
        return {float: "a finite number", int: "an integer", bool: "true or false"}[self.kind]


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _entry(value: object, dims: Dims) -> str | int:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ValueError(f"must hold dims, got {value!r}")
    dims.atoms(value)
    return value


ShapeRule: TypeAlias = Callable[[Dims, Sequence[Kind], Attrs], list[Shape]]


class Op(Struct):
    """One op. Made by `op()`; `reference` and `shapes` attach its two functions.

    where: constraints over axis letters. flops: formula over axis letters and host metadata
    (`pairs`: query-key pairs, `used`: experts used). touched: elements really read or written of
    an operand, where that is not all of it. additive: operands in which the op is linear at once,
    so that it may run before a sum over ranks. writes: output -> input whose buffer it reuses.
    """

    name: str
    ins: tuple[Operand, ...]
    outs: tuple[Operand, ...]
    attrs: dict[str, AttrSpec]
    roles: dict[str, Role]
    where: tuple[str, ...] = ()
    flops: str = "0"
    touched: dict[str, str] = field(default_factory=dict[str, str])
    additive: tuple[str, ...] = ()
    writes: dict[str, str] = field(default_factory=dict[str, str])
    blocks: tuple[str, ...] = ()
    commutes: bool = False
    free: bool = False
    in_names: tuple[str, ...] = ()
    out_names: tuple[str, ...] = ()
    _reference: Callable[..., Any] | None = None
    _shapes: ShapeRule | None = None

    def reference(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorator: `function(xp, *operands, **attrs)` in array text for numpy and torch."""
        self._reference = function
        return function

    def shapes(self, function: ShapeRule) -> ShapeRule:
        """Decorator where output shapes come from attrs: `function(dims, kinds, attrs)`."""
        self._shapes = function
        return function

    def __post_init__(self) -> None:
        self.in_names = tuple(operand.name for operand in self.ins)
        self.out_names = tuple(operand.name for operand in self.outs)

    @property
    def required(self) -> int:
        """How many operands must be given."""
        return sum(not operand.optional for operand in self.ins)

    def compute(self, xp: Any, *arrays: Array | None, **attrs: Any) -> Any:
        """Runs the reference. Dim attrs must already be numbers; returns one array or a tuple."""
        if self._reference is None:
            raise GraphError(f"{self.name} has no reference", hint="decorate one in its op file")
        for name, spec in self.attrs.items():
            if name not in attrs and spec.default is not None:
                attrs[name] = spec.default
        return self._reference(namespace(xp), *arrays, **attrs)

    def check_attrs(self, given: Mapping[str, object], dims: Dims, at: str = "") -> dict[str, Attr]:
        """All attrs of the op in declaration order, normalised. Raises GraphError (G06)."""
        unknown = [name for name in given if name not in self.attrs]
        if unknown:
            known = ", ".join(self.attrs) or "none"
            raise GraphError(
                f"G06 attrs: {self.name} has no attr {unknown[0]!r}",
                at=at or None,
                hint=f"its attrs: {known}",
            )
        out: dict[str, Attr] = {}
        for name, spec in self.attrs.items():
            value = given.get(name, spec.default)
            if value is None:
                raise GraphError(
                    f"G06 attrs: {self.name} needs attr {name!r}",
                    at=at or None,
                    hint=f"give {spec.describe()}",
                )
            try:
                out[name] = spec.check(value, dims)
            except ValueError as error:
                raise GraphError(
                    f"G06 attrs: {self.name}: {name} {error}",
                    at=at or None,
                    hint="see the op's declaration",
                ) from None
        return out

    def bind(self, kinds: Sequence[Kind], attrs: Attrs, dims: Dims, at: str = "") -> Binding:
        """Unifies operands with the signature. Raises GraphError (G05) naming axis and sizes."""
        binding = Binding(self.name, dims, at)
        if not self.required <= len(kinds) <= len(self.ins):
            wanted = ", ".join(o.name + ("?" if o.optional else "") for o in self.ins)
            raise binding.error(f"got {len(kinds)} operands", f"it takes {wanted}")
        for operand, kind in zip(self.ins, kinds, strict=False):
            binding.unify(operand, kind)
        for name, spec in self.attrs.items():
            if spec.kind == "dim":
                binding.bind(name, attrs[name], name)  # pyright: ignore[reportArgumentType]
        for text in self.where:
            self._constraint(text, binding)
        return binding

    def infer(
        self, kinds: Sequence[Kind], attrs: Attrs, dims: Dims, at: str = ""
    ) -> tuple[Kind, ...]:
        """dtype and shape of every output. Raises GraphError (G05)."""
        binding = self.bind(kinds, attrs, dims, at)
        if self._shapes is not None:
            try:
                shapes = self._shapes(dims, kinds, attrs)
            except ValueError as error:
                raise binding.error(str(error), "correct the attr") from None
            return tuple((kinds[0][0], shape) for shape in shapes)
        act = binding.act or ""
        return tuple(
            (act if out.dtype == ACT else out.dtype, binding.shape(out)) for out in self.outs
        )

    def _constraint(self, text: str, binding: Binding) -> None:
        sizes: dict[str, int] = {}
        for name in expr.names(text):
            size = binding.dims.size(binding.axes[name])
            if size is None:
                return
            sizes[name] = size
        if not expr.value(text, sizes):
            shown = ", ".join(f"{name} = {size}" for name, size in sorted(sizes.items()))
            raise binding.error(f"{text} does not hold for {shown}", "check the model's sizes")


OPS: dict[str, Op] = {}
"""Every op by name; filled when `treadle.graph.ops` is imported."""


def op(
    name: str,
    *,
    ins: Mapping[str, str],
    outs: Mapping[str, str],
    attrs: Mapping[str, Any] | None = None,
    roles: Mapping[str, Role] | None = None,
    **rest: Any,
) -> Op:
    """Declares and registers an op; `rest` are the further fields of `Op`.

    An attr is a kind of `AttrSpec`, a pair (type, default), or an AttrSpec.
    """
    if name in OPS:
        raise ValueError(f"op {name} is declared twice")
    specs = {
        key: kind
        if isinstance(kind, AttrSpec)
        else AttrSpec(*kind)
        if _has_default(kind)
        else AttrSpec(kind)
        for key, kind in (attrs or {}).items()
    }
    declared = Op(
        name,
        tuple(Operand.parse(key, text) for key, text in ins.items()),
        tuple(Operand.parse(key, text) for key, text in outs.items()),
        specs,
        dict(roles or {}),
        **rest,
    )
    OPS[name] = declared
    return declared


def _has_default(kind: object) -> bool:
    return isinstance(kind, tuple) and not all(isinstance(word, str) for word in kind)  # pyright: ignore[reportUnknownVariableType]
