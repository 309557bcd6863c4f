"""fuse: replaces groups of nodes by the compositions a backend has kernels for.

Greedy over one fixed list. Candidates of one composition are taken in the order of their depth in
the data flow and their output's name, and the result is listed in that order too, so the outcome
does not depend on how nodes were numbered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from msgspec.structs import replace

from treadle.errors import GraphError
from treadle.graph.fusion import FUSED
from treadle.graph.ir import Graph, Node
from treadle.graph.passes.match import Match, matches
from treadle.graph.verify import verify

PRIORITY = (
    "take_norm_linear",
    "qkv",
    "qk_norm_rope_kv",
    "gate_up_glu",
    "route_experts",
    "allreduce_add_rmsnorm",
    "add_rmsnorm",
    "rmsnorm_linear",
    "linear_add",
)
"""Compositions that save most come first; a later one takes what is left."""


def fuse(graph: Graph, available: Collection[str]) -> Graph:
    """The same function with compositions from `available`, stage "fused".

    Values that remain keep their names. Raises GraphError for an unknown composition, or if the
    graph or the result breaks a rule.
    """
    unknown = sorted(set(available).difference(FUSED))
    if unknown:
        raise GraphError(
            f"no composition {unknown[0]!r}",
            at=f"graph {graph.name}",
            hint=f"known are {', '.join(FUSED)}",
        )
    verify(graph)
    nodes, levels = _ordered(graph.nodes)
    graph = replace(graph, nodes=nodes, stage="fused")
    for name in PRIORITY:
        if name in available:
            chosen = _chosen(graph, name, levels)
            if chosen:
                nodes, levels = _ordered(_apply(graph.nodes, chosen))
                graph = replace(graph, nodes=nodes)
    verify(graph)
    return graph


def _chosen(graph: Graph, name: str, levels: Sequence[int]) -> list[Match]:
    """The matches of one composition to replace: disjoint, in the order of level and name."""
    candidates = sorted(
        matches(graph, FUSED[name]),
        key=lambda match: (max(levels[index] for index in match.members), match.node.outputs),
    )
    taken: set[int] = set()
    chosen: list[Match] = []
    for match in candidates:
        if taken.isdisjoint(match.members):
            taken.update(match.members)
            chosen.append(match)
    if len(chosen) < 2 or _levels(_apply(graph.nodes, chosen)) is not None:
        return chosen
    # Two replacements that are fine alone wait for each other: keep the first of them.
    kept: list[Match] = []
    for match in chosen:
        if _levels(_apply(graph.nodes, [*kept, match])) is not None:
            kept.append(match)
    return kept


def _apply(nodes: Sequence[Node], chosen: Sequence[Match]) -> list[Node]:
    taken = {index for match in chosen for index in match.members}
    rest = [node for index, node in enumerate(nodes) if index not in taken]
    return [*rest, *(match.node for match in chosen)]


def _ordered(nodes: Sequence[Node]) -> tuple[tuple[Node, ...], list[int]]:
    """By level, then by name: a topological order that numbering does not enter; and the levels."""
    levels = _levels(nodes)
    assert levels is not None  # the caller has ruled out circles
    order = sorted(range(len(nodes)), key=lambda index: (levels[index], nodes[index].outputs))
    return tuple(nodes[index] for index in order), [levels[index] for index in order]


def _levels(nodes: Sequence[Node]) -> list[int] | None:
    """Longest path from the graph's inputs to each node; None if nodes wait for each other.

    A node waits for the makers of its operands, and a KV write also for the readers of the version
    that it overwrites.
    """
    maker = {name: index for index, node in enumerate(nodes) for name in node.outputs}
    readers: dict[str, list[int]] = defaultdict(list)
    for index, node in enumerate(nodes):
        for name in node.inputs:
            readers[name].append(index)
    before = [{maker[name] for name in node.inputs if name in maker} for node in nodes]
    for index, node in enumerate(nodes):
        for source in node.declared.writes.values():
            version = node.inputs[node.declared.in_names.index(source)]
            before[index].update(other for other in readers[version] if other != index)
    after: list[list[int]] = [[] for _ in nodes]
    for index, earlier in enumerate(before):
        for other in earlier:
            after[other].append(index)
    waiting = [len(earlier) for earlier in before]
    levels = [0] * len(nodes)
    ready = [index for index, count in enumerate(waiting) if count == 0]
    done = 0
    while ready:
        index = ready.pop()
        done += 1
        for other in after[index]:
            levels[other] = max(levels[other], levels[index] + 1)
            waiting[other] -= 1
            if waiting[other] == 0:
                ready.append(other)
    return levels if done == len(nodes) else None
