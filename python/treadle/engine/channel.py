"""From the loop to one reader: a bounded queue of deltas that never blocks the loop."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable

from treadle.engine.request import Event
from treadle.errors import Timeout, TreadleError
from treadle.types import Delta


def merge(deltas: Iterable[Delta]) -> list[Delta]:
    """One delta a choice that says what all of them said, in order of first appearance."""
    parts: dict[int, list[Delta]] = {}
    for delta in deltas:
        parts.setdefault(delta.index, []).append(delta)
    return [
        Delta(
            index,
            "".join(d.text for d in group),
            tuple(token for d in group for token in d.token_ids),
            tuple(entry for d in group for entry in d.logprobs),
            group[-1].finish_reason,
            group[-1].usage,
        )
        for index, group in parts.items()
    ]


class Channel:
    """Deltas of one request on their way to its reader, then exactly one end.

    Beyond `most` undelivered deltas they coalesce to one a choice. A reader that takes nothing
    for `patience` seconds while deltas wait gets a Timeout as its end (None = waits for ever).
    """

    def __init__(self, most: int, patience: float | None = None) -> None:
        self._most = most
        self._patience = patience
        self._ready = threading.Condition()
        self._deltas: deque[Delta] = deque()
        self._ended = False
        self._error: TreadleError | None = None
        self._moved = time.monotonic()  # when the reader last took, or had nothing to take

    @property
    def ended(self) -> bool:
        """Whether the terminal event is in; deltas may still wait before it."""
        return self._ended

    def put(self, event: Event) -> bool:
        """Adds an event; False when the reader is given up (the caller aborts the request)."""
        with self._ready:
            if self._ended:
                return True
            if event.delta is not None:
                if not self._deltas:
                    self._moved = time.monotonic()
                self._deltas.append(event.delta)
                if len(self._deltas) > self._most:
                    self._deltas = deque(merge(self._deltas))
            if event.end:
                self._ended, self._error = True, event.error
            slow = not event.end and self._too_slow()
            if slow:
                self._ended = True
                self._error = Timeout(
                    f"deliver: nothing was read for {self._patience:g} s",
                    hint="read the stream faster, or raise slow_reader_seconds",
                )
            self._ready.notify()
            return not slow

    def take(self) -> Delta | None:
        """The next delta, or None while there is none. Raises StopIteration at the end, or the
        error that ended the request."""
        with self._ready:
            self._moved = time.monotonic()
            if self._deltas:
                return self._deltas.popleft()
            if not self._ended:
                return None
            if self._error is not None:
                raise self._error
            raise StopIteration

    def wait(self, seconds: float | None = None) -> bool:
        """Blocks until `take` has something to say; False when the time is over."""
        with self._ready:
            return self._ready.wait_for(lambda: bool(self._deltas) or self._ended, seconds)

    def _too_slow(self) -> bool:
        if self._patience is None or not self._deltas:
            return False
        return time.monotonic() - self._moved > self._patience
