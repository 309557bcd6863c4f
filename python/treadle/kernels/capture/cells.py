"""How often which sizes occur, and which few calls of each cell are kept."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TypeAlias

Cell: TypeAlias = "tuple[int, ...]"


def cell(key: Sequence[float]) -> Cell:
    """Coordinates in quarter octaves; a zero is a cell of its own."""
    return tuple(round(4 * math.log2(value)) if value > 0 else -1000 for value in key)


class Sketch:
    """Counts every call of a definition by cell, and says which to keep.

    Each cell keeps `keep` calls, every call of it with the same chance (Vitter's algorithm R).
    Beyond `limit` cells new ones are counted together and none of their calls is kept.
    """

    def __init__(self, keep: int, limit: int, rng: random.Random) -> None:
        self.counts: dict[Cell, int] = {}
        self.beyond = 0
        self._keep, self._limit, self._rng = keep, limit, rng

    def offer(self, where: Cell) -> int | None:
        """Counts a call; the slot of the cell it should be kept in, or None."""
        seen = self.counts.get(where, 0)
        if not seen and len(self.counts) >= self._limit:
            self.beyond += 1
            return None
        self.counts[where] = seen + 1
        slot = seen if seen < self._keep else self._rng.randrange(seen + 1)
        return slot if slot < self._keep else None
