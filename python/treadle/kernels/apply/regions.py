"""Which choice holds where: nested sorted bounds over a key's coordinates.

A tree of depth n answers with n bisections: `bounds, below = node; node = below[bisect(bounds,
x)]`. A key takes the choice of the nearest measured point within one octave of it, and lies at
most a quarter of an octave outside the box of all measured points; else there is no choice. Along
one coordinate, a boundary between two choices lies where their measured curves cross.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

OCTAVE = 1.0
MARGIN = 0.25

Node: TypeAlias = "tuple[tuple[float, ...], tuple[Any, ...]]"
"""Bounds, and one more children than bounds: nodes, or choices at the last coordinate."""

Crossing: TypeAlias = Callable[[int, int], "float | None"]


def tree(
    keys: Sequence[tuple[float, ...]],
    choices: Sequence[str | None],
    cross: Crossing,
    depth: int = 1,
) -> Node:
    """The tree of `choices[i]` at `keys[i]`; all coordinates are positive. depth: coordinates that
    a key would have, where there is none.

    cross(i, j): for keys of one coordinate, where between points i and j (in log2) the choice of
    the first gives way to that of the second; None for the middle. Keys without coordinates are
    one coordinate whose value does not matter.
    """
    if not keys:
        return _empty(depth)
    if not keys[0]:
        return (), (choices[0],)
    return _Grower(keys, choices, cross).level(0, range(len(keys)), ())


def find(node: Node, key: Sequence[float]) -> Any:
    """The choice at a key."""
    found: Any = node
    for value in key or (1.0,):
        bounds, below = found
        found = below[bisect(bounds, value)]
    return found


def mapped(node: Node, depth: int, change: Callable[[Any], Any]) -> Node:
    """The same tree with every choice changed. `depth` = coordinates, at least one."""
    bounds, below = node
    if depth > 1:
        return bounds, tuple(mapped(child, depth - 1, change) for child in below)
    return bounds, tuple(change(choice) for choice in below)


class _Grower:
    """Makes nodes; recursion is as deep as a key has coordinates."""

    def __init__(
        self,
        keys: Sequence[tuple[float, ...]],
        choices: Sequence[str | None],
        cross: Crossing,
    ) -> None:
        self._choices, self._cross = choices, cross
        self._logs = [tuple(math.log2(value) for value in key) for key in keys]
        self._depth = len(keys[0])
        columns = list(zip(*self._logs, strict=True))
        self._low = [min(column) - MARGIN for column in columns]
        self._high = [max(column) + MARGIN for column in columns]

    def level(self, k: int, near: Sequence[int], centre: tuple[float, ...]) -> Node:
        """The node of coordinate k over the points `near`, the coordinates before it fixed."""
        last = k == self._depth - 1
        outside = None if last else _empty(self._depth - k - 1)
        bounds: list[float] = []
        below: list[Any] = [outside]

        def put(edge: float, child: Any) -> None:
            if child != below[-1]:
                bounds.append(edge)
                below.append(child)

        cuts = self._cuts(k, near)
        for left, right in pairwise(cuts):
            at = (*centre, (left + right) / 2)
            reach = [i for i in near if abs(self._logs[i][k] - at[k]) < OCTAVE]
            if not reach:
                put(2.0**left, outside)
            elif last:
                put(2.0**left, self._choices[self._owner(at, reach)])
            else:
                put(2.0**left, self.level(k + 1, reach, at))
        # bisect puts what equals a bound to its right, and the upper edge still belongs inside.
        put(math.nextafter(2.0 ** self._high[k], math.inf), outside)
        return tuple(bounds), tuple(below)

    def _cuts(self, k: int, near: Sequence[int]) -> list[float]:
        edges = {self._low[k], self._high[k]}
        order = sorted(near, key=lambda i: self._logs[i][k])
        for i in order:
            edges |= {self._logs[i][k] - OCTAVE, self._logs[i][k] + OCTAVE}
        for i, j in pairwise(order):
            edges.add(self._cut(i, j, k))
        return sorted(e for e in edges if self._low[k] <= e <= self._high[k])

    def _cut(self, i: int, j: int, k: int) -> float:
        first, second = self._logs[i][k], self._logs[j][k]
        found = self._cross(i, j) if self._depth == 1 else None
        return (first + second) / 2 if found is None else min(max(found, first), second)

    def _owner(self, at: tuple[float, ...], reach: Sequence[int]) -> int:
        """The point that speaks for `at`."""
        if self._depth > 1:

            def distance(i: int) -> tuple[float, float]:
                gaps = [abs(a - b) for a, b in zip(self._logs[i], at, strict=True)]
                return max(gaps), sum(gaps)

            return min(reach, key=distance)
        left = [i for i in reach if self._logs[i][0] <= at[0]]
        right = [i for i in reach if self._logs[i][0] > at[0]]
        if not left or not right:
            return (
                max(left, key=lambda i: self._logs[i])
                if left
                else min(right, key=lambda i: self._logs[i])
            )
        i, j = max(left, key=lambda i: self._logs[i]), min(right, key=lambda i: self._logs[i])
        return i if at[0] < self._cut(i, j, 0) else j


def _empty(depth: int) -> Node:
    """A node of `depth` coordinates that holds no choice."""
    node: Node = ((), (None,))
    for _ in range(depth - 1):
        node = ((), (node,))
    return node
