"""The interpreter: a graph, one reference at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from treadle.errors import GraphError
from treadle.graph.fusion import FUSED, Step
from treadle.graph.ir import Graph, Node
from treadle.graph.op import OPS
from treadle.graph.xp import namespace

Arrays = Mapping[str, Any]


def run(
    graph: Graph,
    inputs: Arrays,
    params: Arrays,
    state: Arrays,
    xp: Any = None,
    *,
    in_place: bool = False,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Outputs by name, and every state at its last version by the state's name.

    xp: numpy where nothing is given. Arrays may be of any float type; float64 is kept, narrower
    floats are computed in float32. bf16 held as uint16 must be widened before. `state` is copied
    first unless `in_place`. Raises GraphError for missing arrays, shapes that contradict each
    other, or an op's own checks.
    """
    outs, states = run_ranks(graph, inputs, [params], [state], xp, in_place=in_place)
    return outs[0], states[0]


def run_ranks(
    graph: Graph,
    inputs: Arrays,
    params: Sequence[Arrays],
    state: Sequence[Arrays],
    xp: Any = None,
    *,
    in_place: bool = False,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All ranks of a sharded graph in lockstep; an allreduce sums over them in rank order.

    params and state: one mapping a rank. Returns outputs and states, one mapping a rank.
    """
    space = namespace(xp)
    ranks = [_bind(graph, inputs, p, s, in_place) for p, s in zip(params, state, strict=True)]
    sizes = run_sizes(graph, {**inputs, **state[0]})
    last = _last_use(graph)
    for index, node in enumerate(graph.nodes):
        _node(space, graph, node, ranks, sizes)
        for name in last.get(index, ()):
            for values in ranks:
                del values[name]
    final = {
        graph.buffer_of(n): n for node in graph.nodes for n in node.outputs if n in graph.buffers
    }
    final = {name: final.get(name, name) for name in graph.state}
    return (
        [{name: values[name] for name in graph.outputs} for values in ranks],
        [{name: values[version] for name, version in final.items()} for values in ranks],
    )


def run_sizes(graph: Graph, arrays: Arrays) -> dict[str, int]:
    """The run-time dims of a batch, from the shapes of its inputs and states.

    Raises GraphError where an array is missing or its shape contradicts the graph or another.
    """
    sizes: dict[str, int] = {}
    for value in (*graph.inputs.values(), *graph.state.values()):
        if value.name not in arrays:
            raise _mismatch(graph, value.name, "is missing")
        shape = tuple(arrays[value.name].shape)
        if len(shape) != len(value.shape):
            raise _mismatch(graph, value.name, f"has {len(shape)} axes, not {len(value.shape)}")
        for entry, actual in zip(value.shape, shape, strict=True):
            if graph.dims.size(entry) is None and isinstance(entry, str):
                name, actual = (entry[:-2], actual - 1) if entry.endswith("+1") else (entry, actual)
                if sizes.setdefault(name, actual) != actual or actual < 0:
                    raise _mismatch(
                        graph, value.name, f"says {name} is {actual}, others {sizes[name]}"
                    )
            elif graph.dims.size(entry) != actual:
                raise _mismatch(
                    graph, value.name, f"has {actual} where {graph.dims.show(entry)} is expected"
                )
    return sizes


def number_attrs(graph: Graph, attrs: Mapping[str, Any], op: str, sizes: Mapping[str, int]) -> Any:
    """Attrs with their dims as numbers, as references take them."""
    declared = OPS.get(op) or FUSED[op]
    out: dict[str, Any] = {}
    for name, value in attrs.items():
        kind = declared.attrs[name].kind
        if kind == "dim":
            value = graph.size(value, sizes)
        elif kind == "dims":
            value = tuple(graph.size(entry, sizes) for entry in value)
        out[name] = value
    return out


def steps_of(node: Node) -> list[Step]:
    """The ops of a node under value names of the graph; inner ones of a fusion get `node/name`."""
    composed = FUSED.get(node.op)
    if composed is None:
        return [Step(OPS[node.op], node.inputs, node.outputs, node.attrs)]
    names = dict(zip(composed.in_names, node.inputs, strict=False))
    names.update(zip(composed.out_names, node.outputs, strict=True))

    def outer(local: Sequence[str]) -> tuple[str, ...]:
        return tuple(names.get(name, f"{node.outputs[0]}/{name}") for name in local)

    return [
        Step(step.op, outer(step.ins), outer(step.outs), step.attrs)
        for step in composed.steps(len(node.inputs), node.attrs)
    ]


def _node(
    xp: Any, graph: Graph, node: Node, ranks: list[dict[str, Any]], sizes: Mapping[str, int]
) -> None:
    inner: list[str] = []
    for step in steps_of(node):
        attrs = number_attrs(graph, step.attrs, step.op.name, sizes)
        if step.op.name == "allreduce" and len(ranks) > 1:
            total = ranks[0][step.ins[0]]
            for values in ranks[1:]:
                total = total + values[step.ins[0]]
            for values in ranks:
                values[step.outs[0]] = total
        else:
            for values in ranks:
                made = step.op.compute(xp, *(values[name] for name in step.ins), **attrs)
                several = step.op.name == "split" or len(step.outs) > 1
                values.update(zip(step.outs, made if several else (made,), strict=True))
        inner += [name for name in step.outs if name not in node.outputs]
    for values in ranks:
        for name in inner:
            del values[name]


def _bind(
    graph: Graph, inputs: Arrays, params: Arrays, state: Arrays, in_place: bool
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for value in graph.params.values():
        if value.name not in params:
            raise _mismatch(graph, value.name, "is missing")
        array = params[value.name]
        wanted = graph.dims.sizes(value.shape)
        if tuple(array.shape) != wanted:
            raise _mismatch(graph, value.name, f"has shape {tuple(array.shape)}, not {wanted}")
        if str(array.dtype) == "uint16":
            raise _mismatch(graph, value.name, "holds bf16 as uint16; widen it to float32 first")
        values[value.name] = array
    values.update((name, inputs[name]) for name in graph.inputs if name in inputs)
    for name in graph.state:
        if name in state:
            array = state[name]
            values[name] = (
                array if in_place else array.copy() if hasattr(array, "copy") else array.clone()
            )
    return values


def _last_use(graph: Graph) -> dict[int, list[str]]:
    """Node index -> node outputs that nobody needs after it."""
    keep = {*graph.outputs, *graph.buffers}
    found: dict[int, list[str]] = {}
    for index, node in enumerate(graph.nodes):
        for name in node.outputs:
            if name not in keep:
                readers = graph.readers.get(name)
                found.setdefault(readers[-1] if readers else index, []).append(name)
    return found


def _mismatch(graph: Graph, name: str, message: str) -> GraphError:
    return GraphError(
        f"{name} {message}", at=f"graph {graph.name}", hint="correct the arrays of run"
    )
