"""One definition in a table: what was measured, who won where, and the cell that calls read."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from treadle.kernels.apply import regions
from treadle.kernels.apply.entry import FAILED, OPEN, READY, WAITING, Counters, Entry
from treadle.kernels.apply.evidence import Evidence, Point
from treadle.kernels.apply.keys import Space
from treadle.kernels.apply.prepared import Prepared
from treadle.kernels.schema import Definition


class Decision(NamedTuple):
    """What a call with certain sizes gets, and why. solution None: the fallback."""

    solution: str | None
    reason: str
    key: tuple[float, ...]
    point: Point | None


class Core:
    """`state[0]` is the tree of callables that handles read; it is only ever replaced whole.
    `unbound[0]` is the same without solutions that prepare weights, for handles that bind none."""

    def __init__(self, definition: Definition, space: Space, evidence: Evidence) -> None:
        self.definition, self.space = definition, space
        self.counters = Counters()
        self.entries: dict[str, Entry] = {}
        self.handles = 0
        self._lock = threading.Lock()
        self._by_call: dict[int, Entry] = {}
        self.learn(evidence)
        self._binding = threading.Lock()
        self._bound: list[tuple[weakref.ref[Any], ...]] = []
        self.state: list[regions.Node] = [self._tree()]
        self.unbound: list[regions.Node] = [self._tree(bound=False)]
        self.swaps = 0

    def learn(self, evidence: Evidence) -> None:
        """Takes new evidence; calls see it after `swap`."""
        points = evidence.points
        self.evidence = evidence
        self.choices = [point.winner() for point in points]
        keys = [p.key for p in points]
        self.names = regions.tree(keys, self.choices, self._crossing, self.depth)

    @property
    def depth(self) -> int:
        """Bisections a call needs."""
        return max(1, len(self.space.coordinates))

    def swap(self) -> None:
        """Publishes the entries' present callables in one step; running calls keep the old tree."""
        with self._lock:
            self._by_call = {id(e.call): e for e in self.entries.values() if e.call is not None}
            self.state[0] = self._tree()
            self.unbound[0] = self._tree(bound=False)
            self.swaps += 1

    def bind(self, weights: Sequence[Any]) -> None:
        """A handle has these weights, in call order: solutions prepare them, now or once built."""
        with self._binding:
            self._bound.append(tuple(weakref.ref(one) for one in weights))
            ready = [e for e in self.entries.values() if isinstance(e.live, Prepared)]
            failed = [e for e in ready if not _added(e, e.live, weights)]
        if failed:
            self.swap()

    def admit(self, entry: Entry, call: Callable[..., Any], note: str) -> None:
        """Publishes a built entry, its weights prepared."""
        with self._binding:
            entry.call, entry.note, entry.state = call, note, READY
            for refs in self._bound if isinstance(call, Prepared) else ():
                weights = [ref() for ref in refs]
                if all(one is not None for one in weights) and not _added(entry, call, weights):
                    break
        self.swap()

    def entry_of(self, call: Callable[..., Any]) -> Entry | None:
        """The entry whose callable this is."""
        return self._by_call.get(id(call))

    def open(self, entry: Entry, note: str) -> None:
        """Opens an entry's breaker: from the next call on the fallback answers."""
        entry.state, entry.note = OPEN, note
        self.swap()

    def decide(self, axes: Mapping[str, int]) -> Decision:
        """What a call of these sizes gets now."""
        return self.decide_key(self.space.key(axes))

    def decide_key(self, key: tuple[float, ...]) -> Decision:
        """As `decide`, by coordinates."""
        if not self.evidence.points:
            seen = ", ".join(sorted(self.evidence.elsewhere))
            return Decision(
                None, f"nothing measured here{f', only on {seen}' if seen else ''}", key, None
            )
        if any(value <= 0 for value in key):
            return Decision(None, "a size is zero", key, None)
        point = self._nearest(key)
        name = regions.find(self.names, key)
        if name is None:
            return Decision(None, self._why_none(key, point), key, point)
        entry = self.entries[name]
        if entry.state == WAITING:
            return Decision(None, f"{name} won, but is not built yet", key, point)
        if entry.state != READY:
            return Decision(None, f"{name} won, but is {entry.state}: {entry.note}", key, point)
        won = point.ratios.get(name)
        proof = f"{won.low:.3f} to {won.high:.3f} times as fast" if won else "won at a neighbour"
        return Decision(name, proof, key, point)

    def smallest(self, name: str) -> Mapping[str, int]:
        """Sizes of the smallest workload that a solution won."""
        won = [p for p, c in zip(self.evidence.points, self.choices, strict=True) if c == name]
        return min(won, key=lambda p: math.prod(p.key)).axes

    def midpoints(self) -> list[tuple[float, ...]]:
        """Keys between neighbours with different winners: what to measure next. One coordinate."""
        if len(self.space.coordinates) != 1:
            return []
        points = self.evidence.points
        found: list[tuple[float, ...]] = []
        for i, (one, other) in enumerate(pairwise(points)):
            middle = float(round(math.sqrt(one.key[0] * other.key[0])))
            if self.choices[i] != self.choices[i + 1] and one.key[0] < middle < other.key[0]:
                found.append((middle,))
        return found

    def _tree(self, *, bound: bool = True) -> regions.Node:
        def call_of(name: Any) -> Any:
            entry = self.entries.get(name) if name is not None else None
            found = entry.live if entry is not None else None
            return found if bound or not isinstance(found, Prepared) else None

        return regions.mapped(self.names, self.depth, call_of)

    def _nearest(self, key: tuple[float, ...]) -> Point:
        def distance(point: Point) -> float:
            pairs = zip(point.key, key, strict=True)
            return max((abs(math.log2(a / b)) for a, b in pairs), default=0.0)

        return min(self.evidence.points, key=distance)

    def _why_none(self, key: tuple[float, ...], point: Point) -> str:
        gaps = [abs(math.log2(a / b)) for a, b in zip(point.key, key, strict=True)]
        if max(gaps, default=0.0) >= regions.OCTAVE:
            return f"{max(gaps):.1f} octaves from the nearest measurement"
        for k, value in enumerate(key):
            column = [p.key[k] for p in self.evidence.points]
            if value < min(column) / 2**regions.MARGIN or value > max(column) * 2**regions.MARGIN:
                label = self.space.coordinates[k].label
                return f"{label} {value:g} lies outside {min(column):g} to {max(column):g}"
        reasons = "; ".join(f"{n}: {r.reason}" for n, r in point.ratios.items() if r.reason)
        return f"no solution is proven faster here ({reasons or 'a neighbour wins'})"

    def _crossing(self, i: int, j: int) -> float | None:
        """Where the measured curves of two neighbours' winners cross, in log2."""
        points = self.evidence.points
        one, other = self.choices[i], self.choices[j]

        def height(name: str | None, at: int) -> float | None:
            if name is None:
                return 0.0
            found = points[at].ratios.get(name)
            return None if found is None or found.low <= 0 else math.log(found.low * found.high) / 2

        heights = [height(one, i), height(other, i), height(one, j), height(other, j)]
        if one == other or any(h is None for h in heights):
            return None
        a, b, c, d = (h for h in heights if h is not None)
        first, last = a - b, c - d  # the lead of `one` at i and at j
        if not first > 0 > last:
            return None
        x, y = math.log2(points[i].key[0]), math.log2(points[j].key[0])
        return x + (y - x) * first / (first - last)


def _added(entry: Entry, call: Any, weights: Sequence[Any]) -> bool:
    """Whether an entry could prepare these weights; one that could not is withdrawn."""
    try:
        call.add(weights)
    except Exception as error:
        entry.state, entry.note = FAILED, f"prepare: {type(error).__name__}: {error}"[:400]
        return False
    return True
