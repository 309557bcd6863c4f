"""shard: one graph for every rank, by dividing named dims.

Shapes keep their names; only the sizes behind them shrink, and `allreduce` goes where a sum over a
cut axis meets an op that is not linear in it. Heads, feed-forward width and vocabulary are cut.
Fewer KV heads than ranks: every rank keeps one, shared by n / K ranks. Logits stay divided.
Two things stay whole: an embedding table, because a rank-blind lookup needs all rows (its
tied head gets a cut of its own), and the experts' count, because each expert is cut inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from msgspec.structs import replace

from treadle.errors import GraphError
from treadle.graph.dims import Dims, Entry, Size
from treadle.graph.ir import Graph, Node, Param, Value
from treadle.graph.op import OPS
from treadle.graph.partial import Flows, is_cut
from treadle.graph.run import steps_of
from treadle.graph.verify import verify

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OVER = ("H", "K", "F", "Fd", "V")
"""Dims that are cut by default, where a graph has them; Fd = dense layers of a sparse model."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A rank's part of a weight: per axis the indices it keeps (None = all); zero: all zeros.

    A bias on a partial sum is added by rank 0 alone; the other ranks hold zeros.
    """

    source: str
    index: tuple[NDArray[np.int64] | None, ...]
    zero: bool = False


def shard(graph: Graph, n: int, over: Sequence[str] = OVER) -> Graph:
    """The graph that each of n ranks runs, stage "sharded". Weights: see `cuts`.

    Raises GraphError where a dim does not divide by n, or an op cannot be cut along it.
    """
    verify(graph, "model")
    divided = _ways(graph, n, over)
    params, nodes, dims = _whole_tables(graph, divided)
    state: dict[str, Value] = dict(graph.state)
    cut = replace(graph, dims=dims, params=params, nodes=nodes, divided=divided, stage="sharded")
    cut = replace(cut, nodes=_summed(cut), state=MappingProxyType(state))
    verify(cut)
    return cut


def cuts(graph: Graph, n: int, rank: int, over: Sequence[str] = OVER) -> dict[str, Cut]:
    """Where each param and state of `shard(graph, n, over)` lies in the whole one, for a rank.

    graph: the model graph. Axes of run-time size are never cut. Raises GraphError as `shard`.
    """
    if not 0 <= rank < n:
        raise GraphError(f"rank {rank} of {n}", at=f"graph {graph.name}", hint="ranks start at 0")
    sharded = shard(graph, n, over)
    late = {name for node in sharded.nodes for name in _biases(sharded, node)}
    found: dict[str, Cut] = {}
    for value in (*sharded.params.values(), *sharded.state.values()):
        source = value.name.removesuffix(".cut") if value.name not in graph.params else value.name
        index = tuple(_kept(graph.dims, sharded.divided, e, n, rank) for e in value.shape)
        found[value.name] = Cut(source, index, zero=value.name in late and rank > 0)
    return found


def _ways(graph: Graph, n: int, over: Sequence[str]) -> dict[str, int]:
    if n < 1:
        raise GraphError(f"cannot cut {n} ways", at=f"graph {graph.name}", hint="n starts at 1")
    divided: dict[str, int] = {}
    for name in over:
        size = graph.dims.get(name)
        if not isinstance(size, int) or n == 1:
            continue
        if size % n == 0:
            divided[name] = n
        elif name == "K" and n % size == 0:
            if size > 1:
                divided[name] = size  # n / K ranks share a KV head
        else:
            raise GraphError(
                f"{name} ({size}) does not divide by {n}",
                at=f"graph {graph.name}",
                hint=f"choose another number of ranks, or leave {name} out of `over`",
            )
    return divided


def _whole_tables(
    graph: Graph, divided: Mapping[str, int]
) -> tuple[Mapping[str, Param], tuple[Node, ...], Dims]:
    """Params, nodes and dims after the cut, with embedding tables kept whole."""
    table: dict[str, Size] = {
        name: size // divided[name] if name in divided and isinstance(size, int) else size
        for name, size in graph.dims.items()
    }
    params = dict(graph.params)
    nodes = list(graph.nodes)
    for node in graph.nodes:
        if node.op != "embed" or node.inputs[0] not in graph.params:
            continue
        param = graph.params[node.inputs[0]]
        rows = param.shape[0]
        if not is_cut((rows,), graph.dims, divided):
            continue
        whole = f"{rows}.all"
        table[whole] = graph.dims.size(rows)
        params[param.name] = replace(param, shape=(whole, *param.shape[1:]))
        tied = f"{param.name}.cut"
        for index, other in enumerate(nodes):
            if other.op != "embed" and param.name in other.inputs:
                params[tied] = replace(param, name=tied)
                ins = tuple(tied if name == param.name else name for name in other.inputs)
                nodes[index] = replace(other, inputs=ins)
    return MappingProxyType(params), tuple(nodes), Dims(table)


def _summed(graph: Graph) -> tuple[Node, ...]:
    """The nodes with an allreduce after every partial value that something needs whole."""
    flows = Flows({n: v.kind for n, v in graph.values.items()}, graph.dims, graph.divided)
    needed: set[str] = set()
    reads: list[set[str]] = []  # per node, the partial operands it can take as they are
    for index, node in enumerate(graph.nodes):
        (step,) = steps_of(node)
        partial = flows.partial.intersection(node.inputs)
        found = flows.step(step)
        if found.fault:
            raise GraphError(
                f"shard: {node.op} {found.fault}",
                at=graph.place(index),
                hint="leave that dim out of `over`",
            )
        summed = {node.inputs[position] for position in found.summed}
        needed.update(summed)
        reads.append(partial - summed)
    needed.update(name for name in graph.outputs if name in flows.partial)
    nodes: list[Node] = []
    for node, taken in zip(graph.nodes, reads, strict=True):
        part = {name: f"{name}.part" for name in needed}
        ins = tuple(part.get(name, name) if name in taken else name for name in node.inputs)
        outs = tuple(part.get(name, name) for name in node.outputs)
        nodes.append(replace(node, inputs=ins, outputs=outs))
        for name in node.outputs:
            if name in needed:
                attrs = MappingProxyType(OPS["allreduce"].check_attrs({}, graph.dims))
                nodes.append(Node("allreduce", (part[name],), (name,), attrs))
    return tuple(nodes)


def _biases(graph: Graph, node: Node) -> tuple[str, ...]:
    """The bias of a linear that makes a partial sum."""
    if node.op != "linear" or len(node.inputs) < 3:
        return ()
    reduced = graph.values[node.inputs[1]].shape[1:]
    return node.inputs[2:] if is_cut(reduced, graph.dims, graph.divided) else ()


def _kept(
    dims: Dims, divided: Mapping[str, int], entry: Entry, n: int, rank: int
) -> NDArray[np.int64] | None:
    """Indices of an axis that a rank keeps; None = all."""
    if str(entry) not in dims or not is_cut((entry,), dims, divided):
        return None
    atoms = dims.atoms(entry)
    sizes = [dims.size(atom) or 1 for atom in atoms]
    import numpy as np

    index = np.arange(int(np.prod(sizes)), dtype=np.int64).reshape(sizes)
    for axis, (atom, size) in enumerate(zip(atoms, sizes, strict=True)):
        ways = divided.get(str(atom), 1)
        if ways > 1:
            width = size // ways
            at = (rank * ways // n) * width
            index = np.take(index, range(at, at + width), axis=axis)
    return index.reshape(-1)
