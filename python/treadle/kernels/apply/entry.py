"""One solution in one table: built or not, trusted or not, and what it has done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from treadle.kernels.schema import Definition, Solution

WAITING, READY, FAILED, OPEN = "waiting", "ready", "failed", "open"
"""Not built yet; in use; did not build or warm up; withdrawn after a fault."""


@dataclass(slots=True, eq=False)
class Entry:
    """`call` takes the definition's inputs and returns its outputs, once `state` is READY.

    note: why it is not in use. id: hash over signature, spec and sources. in_place: it writes
    operands, so that a failed call cannot simply be made again by the fallback.
    """

    definition: Definition
    solution: Solution
    id: str
    in_place: bool
    state: str = WAITING
    note: str = ""
    call: Callable[..., Any] | None = None
    capturable: bool | None = None
    errors: int = 0
    shadows: int = 0
    mismatches: int = 0

    @property
    def live(self) -> Callable[..., Any] | None:
        """What may be called now."""
        return self.call if self.state == READY else None


@dataclass(slots=True, eq=False)
class Counters:
    """Calls of one definition. They count without a lock: `next` on each is one atomic step."""

    hit: count[int] = field(default_factory=count)
    miss: dict[str, count[int]] = field(default_factory=dict[str, "count[int]"])

    def missed(self, reason: str) -> None:
        """Counts a call that the fallback answered."""
        next(self.miss.setdefault(reason, count()))

    def read(self) -> dict[str, Any]:
        """Numbers so far."""
        misses = {reason: so_far(counter) for reason, counter in list(self.miss.items())}
        return {"hit": so_far(self.hit), "miss": {r: n for r, n in misses.items() if n}}


def so_far(counter: count[int]) -> int:
    """How often `next` was called on a counter that began at 0; reading does not advance it."""
    return int(repr(counter)[len("count(") : -1])
