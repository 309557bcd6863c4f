"""Builds a graph op by op; shapes are checked at the line that makes the mistake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from treadle.errors import GraphError
from treadle.graph.declared import lookup
from treadle.graph.dims import Dims, Shape, Size
from treadle.graph.ir import INPUTS, Graph, Node, Param, Value, frozen, infer, place
from treadle.graph.signature import DTYPES
from treadle.graph.verify import verify


class Builder:
    """Collects params, states and nodes; `finish` freezes and verifies them.

    dims: constant sizes and products, on top of the run-time dims T S R L P. act: the activation
    dtype (f32, f16, bf16). Raises GraphError at the call that breaks a rule.
    """

    def __init__(self, *, name: str, dims: Mapping[str, Size], act: str = "f32") -> None:
        self.name = name
        self.act = act
        self.dims = Dims(dims)
        self._inputs = {key: Value(key, "i32", shape) for key, shape in INPUTS.items()}
        self._params: dict[str, Param] = {}
        self._state: dict[str, Value] = {}
        self._nodes: list[Node] = []
        self._values: dict[str, Value] = dict(self._inputs)
        self._counts: dict[str, int] = {}
        self._dtype(act)

    @property
    def ids(self) -> Value:
        """Token ids [T]."""
        return self._inputs["ids"]

    @property
    def pos(self) -> Value:
        """Position of each token in its sequence [T]."""
        return self._inputs["pos"]

    @property
    def slots(self) -> Value:
        """page · B + offset of each token's KV [T]."""
        return self._inputs["slots"]

    @property
    def starts(self) -> Value:
        """First token of each sequence, and the end [S+1]."""
        return self._inputs["starts"]

    @property
    def lens(self) -> Value:
        """Tokens each sequence holds after this step [S]."""
        return self._inputs["lens"]

    @property
    def table(self) -> Value:
        """Pages of each sequence in order [S, L]."""
        return self._inputs["table"]

    @property
    def rows(self) -> Value:
        """Tokens whose logits are wanted [R]."""
        return self._inputs["rows"]

    def param(self, name: str, shape: Sequence[str | int], *, dtype: str | None = None) -> Value:
        """A weight; dtype defaults to the activation dtype. Norms and inv_freq are "f32"."""
        param = Param(name, self._dtype(dtype or self.act), self._shape(name, shape))
        self._define(param)
        self._params[name] = param
        return param

    def state(self, name: str, shape: Sequence[str | int], *, dtype: str | None = None) -> Value:
        """A KV buffer at version 0."""
        value = Value(name, self._dtype(dtype or self.act), self._shape(name, shape))
        self._define(value)
        self._state[name] = value
        return value

    def add(self, op: str, *inputs: Value, name: str | None = None, **attrs: object) -> Value:
        """One node with one output. Without a name it gets one from op and count."""
        return self.add_many(op, *inputs, names=() if name is None else (name,), **attrs)[0]

    def add_many(
        self, op: str, *inputs: Value, names: Sequence[str] = (), **attrs: object
    ) -> tuple[Value, ...]:
        """One node; its outputs in order. `names` may be left out for ops with fixed outputs."""
        outputs = tuple(names) or self._fresh(op, attrs)
        node = Node(op, tuple(value.name for value in inputs), outputs)
        index = len(self._nodes)
        for value in inputs:
            if self._values.get(value.name) is not value:
                raise GraphError(
                    f"G03 order: value {value.name!r} does not belong to this builder",
                    at=place(self.name, index, node),
                    hint="pass values that this builder returned",
                )
        at = place(self.name, index, node)
        complete = lookup(op, at).check_attrs(attrs, self.dims, at)
        node = Node(op, node.inputs, outputs, MappingProxyType(complete))
        made = infer(self.name, self.dims, index, node, self._values)
        for value in made:
            self._define(value, at)
        self._nodes.append(node)
        return tuple(made)

    def finish(self, outputs: Sequence[Value]) -> Graph:
        """The frozen graph, verified at stage "model". Raises GraphError naming node and rule."""
        graph = Graph(
            name=self.name,
            stage="model",
            dims=self.dims,
            inputs=frozen(list(self._inputs.values())),
            params=MappingProxyType(dict(self._params)),
            state=frozen(list(self._state.values())),
            nodes=tuple(self._nodes),
            outputs=tuple(value.name for value in outputs),
        )
        verify(graph)
        return graph

    def _define(self, value: Value, at: str | None = None) -> None:
        if value.name in self._values:
            raise GraphError(
                f"G02 names: value {value.name!r} exists already",
                at=at or f"graph {self.name}",
                hint="values are assigned once; choose another name",
            )
        self._values[value.name] = value

    def _fresh(self, op: str, attrs: Mapping[str, object]) -> tuple[str, ...]:
        count = self._counts[op] = self._counts.get(op, -1) + 1
        sizes = attrs.get("sizes")
        outs = lookup(op, f"graph {self.name}").out_names
        several = len(sizes) if isinstance(sizes, list | tuple) else len(outs)  # pyright: ignore[reportUnknownArgumentType]
        if several == 1:
            return (f"{op}.{count}",)
        return tuple(f"{op}.{count}.{j}" for j in range(several))

    def _shape(self, name: str, shape: Sequence[str | int]) -> Shape:
        if isinstance(shape, str):
            raise GraphError(
                f"G04 dims: shape of {name} is the text {shape!r}",
                at=f"graph {self.name}",
                hint=f'a shape is a tuple: ("{shape}",)',
            )
        for entry in shape:
            self.dims.atoms(entry)
        return tuple(shape)

    def _dtype(self, dtype: str) -> str:
        if dtype not in DTYPES:
            raise GraphError(
                f"G05 shapes: {dtype!r} is no dtype",
                at=f"graph {self.name}",
                hint=f"use one of {' '.join(DTYPES)}",
            )
        return dtype
