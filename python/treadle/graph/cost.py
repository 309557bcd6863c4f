"""Bytes and flops of a node, from its declaration and shapes: rooflines, plans, the text dump."""

from __future__ import annotations

import math
from collections.abc import Mapping

from msgspec import Struct

from treadle.graph import expr
from treadle.graph.fusion import Step
from treadle.graph.ir import Graph, Node, Param, Value
from treadle.graph.run import steps_of
from treadle.graph.signature import Operand
from treadle.types.formats import BITS, FORMATS

DECODE = {"T": 1, "S": 1, "R": 1, "L": 64, "P": 64}
"""One token of one sequence with 64 pages behind it."""


class Cost(Struct, frozen=True):
    """Bytes read and written in memory, and floating-point operations."""

    bytes: float
    flops: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.bytes + other.bytes, self.flops + other.flops)


def cost(graph: Graph, node: Node, run: Mapping[str, int] | None = None) -> Cost:
    """What a node costs at given run-time sizes (default: `DECODE`).

    Params count at their storage format, block scales included; a lookup counts the rows it reads.
    Values inside a fusion count nothing: that is what it saves. Metadata that only a batch knows is
    bounded from the shapes: every query sees all L · B tokens of its table.
    """
    sizes = {**DECODE, **(run or {})}
    total = Cost(0.0, 0.0)
    kinds: dict[str, Value] = {}
    outer = {*node.inputs, *node.outputs}
    for step in steps_of(node):
        ins = [kinds.get(name) or graph.values[name] for name in step.ins]
        made = step.op.infer([value.kind for value in ins], step.attrs, graph.dims)
        outs = [Value(name, *kind) for name, kind in zip(step.outs, made, strict=True)]
        kinds.update((value.name, value) for value in outs)
        total += _step(graph, step, ins, outs, outer, sizes)
        outer.difference_update(step.ins, step.outs)  # moved once, however many parts use it
    return total


def _step(
    graph: Graph,
    step: Step,
    ins: list[Value],
    outs: list[Value],
    outer: set[str],
    sizes: Mapping[str, int],
) -> Cost:
    if step.op.free:
        return Cost(0.0, 0.0)
    binding = step.op.bind([value.kind for value in ins], step.attrs, graph.dims)
    letters = {
        name: graph.size(entry, sizes)
        for name, entry in binding.axes.items()
        if isinstance(entry, str)
    }
    letters |= {name: entry for name, entry in binding.axes.items() if isinstance(entry, int)}
    for name, shape in binding.groups.items():
        letters[name] = math.prod(graph.dims.size(entry, sizes) or 0 for entry in shape)
    if "L" in letters and "T" in letters:
        letters["pairs"] = letters["T"] * letters["L"] * letters["B"]
    moved = 0.0
    operands = [*zip(step.op.ins, ins, strict=False), *zip(step.op.outs, outs, strict=False)]
    for operand, value in operands:
        if value.name in outer:
            moved += _elements(graph, step, operand, value, letters, sizes) * _bits(value) / 8
    return Cost(moved, expr.value(step.op.flops, letters))


def _elements(
    graph: Graph,
    step: Step,
    operand: Operand,
    value: Value,
    letters: Mapping[str, int],
    sizes: Mapping[str, int],
) -> float:
    touched = step.op.touched.get(operand.name)
    if touched is not None:
        return expr.value(touched, letters)
    return math.prod(graph.dims.size(entry, sizes) or 0 for entry in value.shape)


def _bits(value: Value) -> float:
    """Bits an element costs where it is stored; a param of plain format is held at its dtype."""
    return FORMATS[value.format] if isinstance(value, Param) else BITS[value.dtype]
