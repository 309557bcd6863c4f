"""One Definition from one declaration: axes from dims, operands from kinds, `run` from parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from treadle.graph import FUSED, OPS, Dims, lookup
from treadle.graph.dims import Entry, Shape
from treadle.graph.op import Attr
from treadle.graph.signature import ACT, Kind, Operand
from treadle.kernels.definitions import text
from treadle.kernels.schema import (
    AxisConst,
    AxisVar,
    Definition,
    Tensor,
    check_definition,
)

DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "i32": "int32"}

FUSED_OPERANDS: dict[str, str] = {
    "add_rmsnorm": "x: T D; y: T D; w: D f32",
    "allreduce_add_rmsnorm": "x: T D; y: T D; w: D f32",
    "gate_up_glu": "x: T D; wg: F D; wu: F D",
    "linear_add": "x: T I; w: O I; y: T O; b: O",
    "qk_norm_rope_kv": (
        "q: T H d; k: T K d; v: T K d; pos: T i32; freq: r f32; kv: P 2 B K d; slots: T i32;"
        " q_norm: d f32; k_norm: d f32"
    ),
    "qkv": "x: T D; wq: Hd D; wk: Kd D; wv: Kd D; bq: Hd; bk: Kd; bv: Kd",
    "rmsnorm_linear": "x: T D; norm: D f32; w: O D; b: O",
    "route_experts": "scores: T E; x: T D; wg: E F D; wu: E F D; wd: E D F",
    "take_norm_linear": "x: T D; rows: R i32; norm: D f32; w: V D; b: V",
}
"""Operands of a composition in the grammar of `graph.signature`; its parts check the shapes."""


def define(
    op: str,
    name: str,
    sizes: Mapping[str, int | tuple[str, ...]],
    *,
    act: str = "bf16",
    attrs: Mapping[str, Any] | None = None,
    optional: bool = False,
    operands: str | None = None,
    names: Mapping[str, str] | None = None,
    dtypes: Mapping[str, str] | None = None,
    outputs: Sequence[str] | None = None,
    op_type: str | None = None,
    tags: Sequence[str] = (),
    wide: bool = False,
) -> Definition:
    """The Definition of an op or fused composition at constant sizes.

    sizes: constant dims; letters left out are run-time ones. act: storage type of activations.
    optional: with its optional operands. operands: other axes than the declaration's own, in its
    grammar. names: axis, operand or output → public name. dtypes: operand → type it is stored in,
    where that is not the declared one. outputs: which of them; wide: the composition in float32,
    rounded once at its end. Raises GraphError where sizes and attrs do not fit the op.
    """
    declared = lookup(op)
    dims = Dims(dict(sizes))
    parsed = _operands(op, operands)
    required = [o for o in parsed if optional or not _optional(op, o)]
    kinds = [_kind(o, act) for o in required]
    settled = declared.check_attrs(attrs or {}, dims)
    made = declared.infer(kinds, settled, dims)
    renamed = dict(names or {})
    results = _results(declared.out_names, len(made))
    shown = [n for n in results if outputs is None or n in outputs]
    axes = _Axes(dims, renamed)
    ins = {
        renamed.get(o.name, o.name): axes.tensor(shape, (dtypes or {}).get(o.name, dtype))
        for o, (dtype, shape) in zip(required, kinds, strict=True)
    }
    outs = {
        renamed.get(n, n): axes.tensor(shape, dtype)
        for n, (dtype, shape) in zip(results, made, strict=True)
        if n in shown
    }
    ours: dict[str, Any] = {"op": op, "attrs": {k: _json(v) for k, v in settled.items()}}
    if op in OPS:
        ours["flops"] = OPS[op].flops
    lasting = [n for n, t in ins.items() if _lasts(t, axes.found)]
    if lasting:
        ours["weights"] = lasting
    definition = Definition(
        name=name,
        op_type=op_type or op,
        axes=dict(axes.found),
        inputs=ins,
        outputs=outs,
        reference=_reference(op, [o.name for o in required], settled, dims, renamed, shown, wide),
        tags=list(tags) + (["fused"] if op in FUSED and "fused" not in tags else []),
        constraints=axes.constraints,
        treadle=ours,
    )
    check_definition(definition)
    return definition


def _lasts(tensor: Tensor, axes: Mapping[str, Any]) -> bool:
    """Whether an operand is the model's own: what a step brings along has an axis of its size."""
    return bool(tensor.shape) and all(isinstance(axes[a], AxisConst) for a in tensor.shape or ())


class _Axes:
    """Axes in order of first use."""

    def __init__(self, dims: Dims, names: Mapping[str, str]) -> None:
        self._dims, self._names = dims, names
        self.found: dict[str, Any] = {}
        self._bounds: dict[str, str] = {}  # axis of one more entry → axis

    def tensor(self, shape: Shape, dtype: str) -> Tensor:
        return Tensor(shape=[self._axis(entry) for entry in shape], dtype=DTYPES[dtype])

    def _axis(self, entry: Entry) -> str:
        if isinstance(entry, int):
            name = f"n{entry}"
            self.found.setdefault(name, AxisConst(value=entry))
            return name
        plain = entry.removesuffix("+1")
        name = self._names.get(plain, plain)
        size = self._dims.size(entry)
        if plain == entry:
            self.found.setdefault(name, AxisVar() if size is None else AxisConst(value=size))
            return name
        self.found.setdefault(f"{name}_plus_1", AxisVar())
        self._bounds[f"{name}_plus_1"] = name
        return f"{name}_plus_1"

    @property
    def constraints(self) -> list[str]:
        """What ties axes to each other, once all operands are named."""
        return [
            f"{more} == {name} + 1" for more, name in self._bounds.items() if name in self.found
        ]


def _json(value: Attr) -> object:
    return list(value) if isinstance(value, tuple) else value


def _operands(op: str, given: str | None) -> tuple[Operand, ...]:
    words = given or FUSED_OPERANDS.get(op)
    if words is None:
        return OPS[op].ins
    pairs = (piece.split(":") for piece in words.split(";"))
    return tuple(Operand.parse(key.strip(), axes) for key, axes in pairs)


def _optional(op: str, operand: Operand) -> bool:
    return operand.optional or (op in FUSED and operand.name in FUSED[op].optional)


def _kind(operand: Operand, act: str) -> Kind:
    lead: Shape = () if operand.group is None else ("T",)
    return (act if operand.dtype == ACT else operand.dtype, lead + operand.axes)


def _results(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Output names; an op that gives as many as an attr says numbers them."""
    return names if len(names) == count else tuple(f"{names[0]}{i}" for i in range(count))


def _reference(
    op: str,
    operands: Sequence[str],
    attrs: Mapping[str, Attr],
    dims: Dims,
    names: Mapping[str, str],
    shown: Sequence[str],
    wide: bool,
) -> str:
    given = [names.get(n, n) for n in operands]
    head = f"def run({', '.join(given)}):\n"
    if op in OPS:
        call = f"{op}({', '.join([*given, *_words(OPS[op].attrs, attrs, dims)])})"
        return text.module(*_functions([op]), f"{head}    return {call}\n")
    steps = FUSED[op].steps(len(operands), attrs)
    lines: list[str] = []
    if wide:  # rounding happens once, at the end
        lines += [f"{n} = wide({n})" for n in given]
        head = head.replace("):\n", f"):\n    dtype = {given[0]}.dtype\n")
    local = dict(zip(operands, given, strict=True))
    for step in steps:
        ins = [local.get(n, n) for n in step.ins]
        # A part's result may share its name with an operand, as `w` of route_experts.
        local.update({n: n if n not in given else f"{n}_" for n in step.outs})
        outs = ", ".join(local[n] for n in step.outs)
        lines.append(
            f"{outs} = {step.op.name}"
            f"({', '.join([*ins, *_words(step.op.attrs, step.attrs, dims)])})"
        )
    back = ", ".join(local[n] + (".to(dtype)" if wide else "") for n in shown)
    body = "".join(f"    {line}\n" for line in (*lines, f"return {back}"))
    used = list(dict.fromkeys(step.op.name for step in steps))
    return text.module(*_functions(used), head + body)


def _functions(ops: Sequence[str]) -> list[str]:
    gate = [text.GATE] if {"glu", "experts"} & set(ops) else []
    return gate + [text.OPS[name] for name in ops]


def _words(specs: Mapping[str, Any], attrs: Mapping[str, Attr], dims: Dims) -> list[str]:
    """Attrs as keyword arguments, their dims as numbers; -1 for the one run-time size."""

    def size(entry: Entry) -> int:
        return dims.size(entry) or -1

    out: list[str] = []
    for name, value in attrs.items():
        kind = specs[name].kind
        if kind == "dim":
            out.append(f"{name}={size(cast('Entry', value))}")
        elif kind == "dims":
            entries = tuple(size(entry) for entry in cast("tuple[Entry, ...]", value))
            out.append(f"{name}={entries}")
        else:
            out.append(f"{name}={value!r}")
    return out
