"""Dealt work: the ranges that every worker derives from the same batch, so no queue is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from treadle.mega.records import Site
from treadle.types import Batch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK = 16
"""Rows of a slot that attention takes together where it is not split, and that a linear deals."""


@dataclass(frozen=True, slots=True)
class Item:
    """A piece of attention: rows first..end of a slot against one KV head.

    segment: the one segment it covers, -1 = all that its rows see. cost: positions × rows.
    """

    slot: int
    head: int
    first: int
    end: int
    segment: int
    cost: int


def rows(count: int, share: tuple[int, int], block: int = 1) -> range:
    """Part i of m of `count` rows, in whole blocks."""
    part, parts = share
    blocks = -(-count // block)
    first, end = blocks * part // parts, blocks * (part + 1) // parts
    return range(min(first * block, count), min(end * block, count))


def deal(costs: Sequence[int], share: tuple[int, int]) -> range:
    """Part i of m of a list of items: those before which between C·i/m and C·(i+1)/m was spent."""
    part, parts = share
    total = sum(costs)
    low, high = total * part // parts, total * (part + 1) // parts
    before, first, end = 0, 0, 0
    for cost in costs:
        first += before < low
        end += before < high
        before += cost
    return range(first, end)


def seen(position: int, window: int) -> int:
    """First position that a row sees."""
    return max(0, position - window + 1) if window else 0


def items(batch: Batch, site: Site, heads: range, segment: int, *, split: bool) -> list[Item]:
    """The pieces of an attention in their fixed order."""
    found: list[Item] = []
    for slot, length in enumerate(batch.lens.tolist()):
        first, end = int(batch.starts[slot]), int(batch.starts[slot + 1])
        if first == end:
            continue
        position = length - (end - first)
        low = seen(position, site.window)
        for head in heads:
            if split:
                for s in range(low // segment, (length - 1) // segment + 1):
                    cost = min((s + 1) * segment, length) - max(s * segment, low)
                    found.append(Item(slot, head, first, end, s, cost))
                continue
            for at in range(first, end, BLOCK):
                stop = min(at + BLOCK, end)
                last = position + stop - first
                cost = (stop - at) * (last - seen(position + at - first, site.window))
                found.append(Item(slot, head, at, stop, -1, cost))
    return found


def used_experts(chosen: NDArray[np.int32]) -> list[int]:
    """Experts that any row chose, ascending."""
    return sorted({int(e) for e in chosen.reshape(-1)})
