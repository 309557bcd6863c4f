"""What makes q and k of an attention out of the projections' rows, followed back from it.

The graph's own composition names the usual prologue: rope on both, norms on neither, on q or on
both. Here are the others: no rope at all, and a norm on k alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from treadle.graph import Graph, Node
from treadle.mega.phases import Heads, Norm


@dataclass(frozen=True, slots=True)
class Prologue:
    """q: the value whose rows the attention's phases read. joined: nodes that make no phase."""

    q: str
    heads: Heads
    joined: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Way:
    """From a head-wise value back to its projection. table: (freq, mscale), "" = not turned."""

    source: str
    norm: Norm | None
    table: tuple[str, float]
    nodes: tuple[int, ...]


def prologues(graph: Graph) -> Mapping[str, Prologue]:
    """By turned q, for every attention that no composition prepares and whose q, k and v come from
    one `qkv`, each at most normed and then turned, q and k by one table."""
    found: dict[str, Prologue] = {}
    for node in graph.nodes:
        made = _prologue(graph, node) if node.op == "attention" else None
        if made is not None:
            found[node.inputs[0]] = made
    return found


def _prologue(graph: Graph, attention: Node) -> Prologue | None:
    write = graph.producers.get(attention.inputs[1], -1)
    if write < 0 or graph.nodes[write].op != "kv_write":
        return None
    state, k, v, _ = graph.nodes[write].inputs
    ways = [_way(graph, name) for name in (attention.inputs[0], k)]
    if not _of_one_projection(graph, [*(way.source for way in ways), v]):
        return None
    q_way, k_way = ways
    if q_way.table != k_way.table:
        return None
    _, heads, head = graph.values[attention.inputs[0]].shape
    made = Heads(
        heads=graph.size(str(heads)),
        kv_heads=graph.size(str(graph.values[k].shape[1])),
        head=graph.size(str(head)),
        state=graph.buffer_of(state),
        freq=q_way.table[0],
        scale=1.0,
        mscale=q_way.table[1],
        q_norm=q_way.norm,
        k_norm=k_way.norm,
    )
    return Prologue(q_way.source, made, frozenset((write, *q_way.nodes, *k_way.nodes)))


def _way(graph: Graph, value: str) -> _Way:
    """Over a rope and then a norm whose results nobody else reads."""
    nodes: list[int] = []
    norm: Norm | None = None
    table = ("", 1.0)
    index = _maker(graph, value, "rope")
    if index is not None and graph.nodes[index].inputs[1] == "pos":
        node = graph.nodes[index]
        table = (node.inputs[2], cast("float", node.attrs["mscale"]))
        nodes.append(index)
        value = node.inputs[0]
    index = _maker(graph, value, "rmsnorm")
    if index is not None:
        node = graph.nodes[index]
        norm = Norm(node.inputs[1], cast("float", node.attrs["eps"]))
        nodes.append(index)
        value = node.inputs[0]
    return _Way(value, norm, table, tuple(nodes))


def _maker(graph: Graph, value: str, op: str) -> int | None:
    """The node that makes a value, if it is of that op and the value has one reader."""
    index = graph.producers.get(value)
    alone = len(graph.readers.get(value, ())) == 1 and value not in graph.outputs
    return index if index is not None and alone and graph.nodes[index].op == op else None


def _of_one_projection(graph: Graph, heads: list[str]) -> bool:
    """Whether the values are views of q, k and v of one `qkv`."""
    sources: list[str] = []
    for name in heads:
        index = graph.producers.get(name)
        if index is None or graph.nodes[index].op != "view":
            return False
        sources.append(graph.nodes[index].inputs[0])
    index = graph.producers.get(sources[0])
    made = graph.nodes[index] if index is not None else None
    return made is not None and made.op == "qkv" and tuple(sources) == made.outputs
