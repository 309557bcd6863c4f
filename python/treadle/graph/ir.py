"""Graph, Node, Value, Param: the model as data, frozen after building.

Values are assigned once. Nodes stand in topological order. A KV buffer is a chain of versions: the
graph's state is version 0, each `kv_write` yields the next, and order is data flow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType

from msgspec import Struct, field
from msgspec.structs import replace

from treadle.digest import sha256
from treadle.errors import GraphError
from treadle.graph.declared import Declared, lookup
from treadle.graph.dims import Dims, Shape, Size
from treadle.graph.op import Attr, Attrs
from treadle.graph.signature import Kind
from treadle.types.formats import FORMATS

STAGES = ("model", "sharded", "typed", "fused", "planned")


INPUTS: dict[str, Shape] = {
    "ids": ("T",),
    "pos": ("T",),
    "slots": ("T",),
    "starts": ("S+1",),
    "lens": ("S",),
    "table": ("S", "L"),
    "rows": ("R",),
}
"""The i32 inputs of every decoder; `types.Batch` carries exactly these."""


class Value(Struct, frozen=True):
    """A named array. dtype: f32 f16 bf16 i32; shape: dim names, integers or "S+1"."""

    name: str
    dtype: str
    shape: Shape

    @property
    def kind(self) -> Kind:
        """dtype and shape without the name."""
        return self.dtype, self.shape


class Param(Value, frozen=True):
    """A weight. `format` is how it is stored (`q4_1`, …); the op does not change with it.

    numpy has no bfloat16: a bf16 weight is uint16 in memory and the backend widens it on use.
    """

    format: str = "f32"


class Node(Struct, frozen=True):
    """One op or fused composition applied to named values. Attrs are complete and normalised."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Attrs = field(default_factory=dict[str, Attr])

    @property
    def declared(self) -> Declared:
        """The declaration. Raises GraphError (G01) for an unknown op."""
        return lookup(self.op)


class Graph(Struct, frozen=True, dict=True):
    """A model. `divided` holds, after `shard`, the dims cut across ranks and into how many."""

    name: str
    stage: str
    dims: Dims
    inputs: Mapping[str, Value]
    params: Mapping[str, Param]
    state: Mapping[str, Value]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    divided: Mapping[str, int] = field(default_factory=dict[str, int])

    @cached_property
    def values(self) -> Mapping[str, Value]:
        """Every value by name. Raises GraphError for a node whose operands do not fit."""
        table: dict[str, Value] = {**self.inputs, **self.params, **self.state}
        for index, node in enumerate(self.nodes):
            for value in infer(self.name, self.dims, index, node, table):
                table[value.name] = value
        return MappingProxyType(table)

    @cached_property
    def producers(self) -> Mapping[str, int]:
        """Value name -> index of the node that makes it; inputs, params and state are absent."""
        return {name: i for i, node in enumerate(self.nodes) for name in node.outputs}

    @cached_property
    def readers(self) -> Mapping[str, tuple[int, ...]]:
        """Value name -> indices of the nodes that read it, ascending."""
        found: dict[str, list[int]] = {}
        for i, node in enumerate(self.nodes):
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(i)
        return {name: tuple(indices) for name, indices in found.items()}

    @cached_property
    def buffers(self) -> Mapping[str, str]:
        """Every KV version, version 0 included -> the state it is a version of."""
        found = {name: name for name in self.state}
        for node in self.nodes:
            declared = node.declared
            for out, source in declared.writes.items():
                ins, outs = declared.in_names, declared.out_names
                position = ins.index(source)
                root = found.get(node.inputs[position]) if position < len(node.inputs) else None
                if root is not None:
                    found[node.outputs[outs.index(out)]] = root
        return found

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical text: the graph's identity."""
        from treadle.graph.store import dumps

        return sha256(dumps(self).encode()).hexdigest()

    def size(self, name: str, run: Mapping[str, int] | None = None) -> int:
        """The number behind a dim. Raises GraphError for a run-time dim that `run` lacks."""
        found = self.dims.size(name, run)
        if found is None:
            raise GraphError(
                f"G04 dims: {name} is sized when a batch runs",
                at=f"graph {self.name}",
                hint="pass run={...} with the batch's sizes",
            )
        return found

    def buffer_of(self, name: str) -> str:
        """The state that a KV version belongs to. Raises GraphError for other values."""
        if name not in self.buffers:
            raise GraphError(
                f"{name} is no KV version",
                at=f"graph {self.name}",
                hint="ask for a state's version",
            )
        return self.buffers[name]

    def with_formats(self, formats: Mapping[str, str]) -> Graph:
        """The same graph with the storage formats of some params set. Raises GraphError."""
        params = dict(self.params)
        for name, fmt in formats.items():
            if name not in params:
                raise GraphError(
                    f"no param {name!r}",
                    at=f"graph {self.name}",
                    hint="use the graph's param names",
                )
            if fmt not in FORMATS:
                raise GraphError(
                    f"unknown format {fmt!r} for {name}",
                    at=f"graph {self.name}",
                    hint=f"use one of {' '.join(FORMATS)}",
                )
            params[name] = replace(params[name], format=fmt)
        return replace(self, params=MappingProxyType(params))

    def place(self, index: int) -> str:
        """Graph and node for error messages."""
        return place(self.name, index, self.nodes[index])


def place(graph: str, index: int, node: Node) -> str:
    """`graph llama, node 12 rmsnorm -> l0.normed`."""
    return f"graph {graph}, node {index} {node.op} -> {', '.join(node.outputs) or 'nothing'}"


def infer(name: str, dims: Dims, index: int, node: Node, table: Mapping[str, Value]) -> list[Value]:
    """The output values of one node. Raises GraphError (G01, G03, G05)."""
    declared = lookup(node.op)
    kinds: list[Kind] = []
    for operand in node.inputs:
        value = table.get(operand)
        if value is None:
            raise GraphError(
                f"G03 order: value {operand!r} is read before anything makes it",
                at=place(name, index, node),
                hint="nodes stand in topological order; move its maker up or correct the name",
            )
        kinds.append(value.kind)
    key = ("infer", node.op, tuple(kinds), tuple(node.attrs.items()))
    made: tuple[Kind, ...] | None = dims.memo.get(key)
    if made is None:
        try:
            made = dims.memo[key] = declared.infer(kinds, node.attrs, dims)
        except GraphError as error:
            at = place(name, index, node)
            raise GraphError(error.message, at=at, hint=error.hint) from None
    if len(made) != len(node.outputs):
        raise GraphError(
            f"G05 shapes: {node.op} makes {len(made)} values, {len(node.outputs)} are named",
            at=place(name, index, node),
            hint=f"name one value for each of {', '.join(declared.out_names)}",
        )
    return [Value(out, *kind) for out, kind in zip(node.outputs, made, strict=True)]


def frozen(values: Sequence[Value]) -> Mapping[str, Value]:
    """A read-only table by name."""
    return MappingProxyType({value.name: value for value in values})


__all__ = ["STAGES", "Graph", "Node", "Param", "Shape", "Size", "Value"]
