"""Finds a composition in a graph: from its last part backwards, along the values.

The search is a unification of the composition's local names with value names. A part that makes a
known local value matches that value's producer; a part that may be absent matches or is passed by.
Ops that commute are tried in both orders, the written one first. Nothing depends on where a node
stands in the list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from treadle.graph.fusion import Fused, Part
from treadle.graph.ir import Graph, Node
from treadle.graph.op import Attr


@dataclass(frozen=True, slots=True)
class Match:
    """Where a composition applies: the nodes it takes in and the node that replaces them."""

    members: tuple[int, ...]
    node: Node


@dataclass(frozen=True, slots=True)
class _Trail:
    """Bindings so far. members: node index of each part of the composition itself."""

    names: Mapping[str, str]
    members: tuple[int, ...]
    attrs: Mapping[str, Attr]


def matches(graph: Graph, composition: Fused) -> Iterator[Match]:
    """Every legal match, at most one for each node of the last part's op; they may overlap."""
    sequence = (*composition.parts, *composition.context)
    anchor = sequence[-1]
    own = len(composition.parts)
    for index, node in enumerate(graph.nodes):
        if node.op != anchor.op:
            continue
        trail = _Trail({}, (), {})
        for start in _apply(trail, anchor, index, node, own == len(sequence)):
            found = next(_search(graph, sequence[:-1], own, start, composition), None)
            if found is not None:
                yield found
                break


def _search(
    graph: Graph, rest: Sequence[Part], own: int, trail: _Trail, composition: Fused
) -> Iterator[Match]:
    if not rest:
        match = _finish(graph, composition, trail)
        if match is not None:
            yield match
        return
    part = rest[-1]
    target = next((trail.names[name] for name in part.outs if name in trail.names), None)
    if target is None:
        return  # every part is reached from a later one
    index = graph.producers.get(target)
    if index is not None and graph.nodes[index].op == part.op:
        for after in _apply(trail, part, index, graph.nodes[index], len(rest) <= own):
            yield from _search(graph, rest[:-1], own, after, composition)
    elif part.when is not None:
        names = _bound(trail.names, part.ins[0], target)
        if names is not None and part.when not in names:
            yield from _search(
                graph, rest[:-1], own, _Trail(names, trail.members, trail.attrs), composition
            )


def _apply(trail: _Trail, part: Part, index: int, node: Node, own: bool) -> Iterator[_Trail]:
    """The trail after a part is identified with a node: zero, one or two ways."""
    orders = [node.inputs]
    if part.declared.commutes and len(node.inputs) == 2:
        orders.append(node.inputs[::-1])
    for order in orders:
        if len(order) > len(part.ins):
            continue
        names: dict[str, str] | None = dict(trail.names)
        pairs = [*zip(part.outs, node.outputs, strict=True), *zip(part.ins, order, strict=False)]
        for local, actual in pairs:
            names = _bound(names, local, actual)
            if names is None:
                break
        if names is None:
            continue
        attrs = dict(trail.attrs)
        if own:
            clash = False
            for name, outer in part.attrs.items():
                clash |= attrs.setdefault(outer, node.attrs[name]) != node.attrs[name]
            if clash:
                continue
        yield _Trail(names, (*trail.members, index) if own else trail.members, attrs)


def _bound(names: Mapping[str, str], local: str, actual: str) -> dict[str, str] | None:
    if names.get(local, actual) != actual:
        return None
    return {**names, local: actual}


def _finish(graph: Graph, composition: Fused, trail: _Trail) -> Match | None:
    """The replacing node, if the composition may replace its members."""
    members = set(trail.members)
    if len(members) != len(trail.members):
        return None
    given = [trail.names.get(name) for name in composition.in_names]
    while given and given[-1] is None:
        given.pop()
    inputs = tuple(name for name in given if name is not None)
    if len(inputs) != len(given):
        return None  # an optional operand is missing before one that is there
    outputs = tuple(trail.names[name] for name in composition.out_names)
    inner = {name for i in members for name in graph.nodes[i].outputs}.difference(outputs)
    for name in inner:
        if name in graph.outputs or not members.issuperset(graph.readers.get(name, ())):
            return None
    if not _convex(graph, members):
        return None
    attrs = composition.check_attrs(trail.attrs, graph.dims)
    return Match(tuple(sorted(members)), Node(composition.name, inputs, outputs, attrs))


def _convex(graph: Graph, members: set[int]) -> bool:
    """No value leaves the members and comes back: else the replacement would wait for itself."""
    tainted: set[str] = set()
    for index in range(min(members), max(members) + 1):
        node = graph.nodes[index]
        if index in members:
            if tainted.intersection(node.inputs):
                return False
            continue
        outside = any(
            graph.producers.get(name) in members or name in tainted for name in node.inputs
        )
        if outside:
            tainted.update(node.outputs)
    return True
