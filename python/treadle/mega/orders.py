"""Schedules of the interpreter: which worker goes next, among those that can.

An order is a function of the enabled events. An event is (rank, worker, started): a task that may
start, or one that has started and may store and signal.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

Event = tuple[int, int, bool]
Order = Callable[[Sequence[Event]], int]


def shuffled(seed: int) -> Order:
    """Any enabled event, uniformly."""
    pick = random.Random(seed)
    return lambda events: pick.randrange(len(events))


def starved(seed: int) -> Order:
    """One worker moves only when nothing else can: everybody else runs ahead of it."""
    pick = random.Random(seed)
    victims: dict[int, tuple[int, int]] = {}

    def choose(events: Sequence[Event]) -> int:
        if not victims:
            victims[0] = pick.choice(sorted({event[:2] for event in events}))
        others = [i for i, event in enumerate(events) if event[:2] != victims[0]]
        return pick.choice(others) if others else 0

    return choose


def late_stores(seed: int) -> Order:
    """Tasks start as soon as they can and store as late as they may: reads race ahead."""
    pick = random.Random(seed)

    def choose(events: Sequence[Event]) -> int:
        starts = [i for i, event in enumerate(events) if not event[2]]
        return pick.choice(starts) if starts else pick.randrange(len(events))

    return choose


def ranked(seed: int) -> Order:
    """Workers have fixed priorities: the first that can always goes."""
    pick = random.Random(seed)
    places: dict[tuple[int, int], float] = {}

    def choose(events: Sequence[Event]) -> int:
        for event in events:
            places.setdefault(event[:2], pick.random())
        return min(range(len(events)), key=lambda i: places[events[i][:2]])

    return choose


ORDERS: dict[str, Callable[[int], Order]] = {
    "shuffled": shuffled,
    "starved": starved,
    "late_stores": late_stores,
    "ranked": ranked,
}
