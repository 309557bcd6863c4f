"""The bounded way into the loop: submissions and aborts from any thread, drained once a step."""

from __future__ import annotations

import threading
import time

from treadle.engine.request import Submit
from treadle.errors import EngineDead, NotReady, Overloaded


def again(error: EngineDead | NotReady) -> EngineDead | NotReady:
    """A fresh copy of an error that many callers will be given: each raises its own."""
    copy = type(error)(error.message, at=error.at, hint=error.hint)
    copy.__cause__ = error.__cause__
    return copy


class Inbox:
    """Holds what the loop has not seen yet, and counts what it has not admitted yet.

    A request occupies the queue from `put` until `left` is called for it (first admitted, or
    ended before). `requests` and `tokens` bound the queue; beyond them `put` raises Overloaded
    with the time after which a place should be free, from the rate at which places got free.
    """

    def __init__(self, requests: int, tokens: int) -> None:
        self._most_requests = requests
        self._most_tokens = tokens
        self._lock = threading.Condition()
        self._submits: list[Submit] = []
        self._aborts: list[int] = []
        self._queued: dict[int, int] = {}  # id -> prompt tokens
        self._tokens = 0
        self._closed: EngineDead | NotReady | None = None
        self._woken = False
        self._gap = 0.1  # seconds between two requests leaving the queue, smoothed
        self._last_left = time.monotonic()

    @property
    def queued(self) -> int:
        """Requests that hold a place in the queue."""
        return len(self._queued)

    @property
    def load(self) -> float:
        """How full the queue is, 0 to 1."""
        return max(len(self._queued) / self._most_requests, self._tokens / self._most_tokens)

    def put(self, submit: Submit) -> None:
        """Queues a request. Raises Overloaded, or EngineDead / NotReady once closed."""
        with self._lock:
            if self._closed is not None:
                raise again(self._closed)
            size = len(submit.ids)
            if len(self._queued) >= self._most_requests or (
                self._queued and self._tokens + size > self._most_tokens
            ):
                wait = max(0.1, min(60.0, self._gap * max(1, len(self._queued) // 8)))
                raise Overloaded(
                    f"{len(self._queued)} requests with {self._tokens} prompt tokens are waiting",
                    retry_after=wait,
                    hint=f"retry after {wait:.1f} s",
                )
            self._queued[submit.id] = size
            self._tokens += size
            self._submits.append(submit)
            self._lock.notify()

    def abort(self, request: int) -> None:
        """Asks for the end of a request; unknown and ended ids are ignored."""
        with self._lock:
            self._aborts.append(request)
            self._lock.notify()

    def left(self, request: int) -> None:
        """Frees the place of a request."""
        with self._lock:
            size = self._queued.pop(request, None)
            if size is None:
                return
            self._tokens -= size
            now = time.monotonic()
            self._gap += 0.2 * (min(now - self._last_left, 60.0) - self._gap)
            self._last_left = now

    def drain(self) -> tuple[list[int], list[Submit]]:
        """Takes everything: aborts, then submissions in order of arrival."""
        with self._lock:
            aborts, self._aborts = self._aborts, []
            submits, self._submits = self._submits, []
            return aborts, submits

    def check(self) -> None:
        """Raises RuntimeError unless only requests that nobody has drained hold places."""
        with self._lock:
            sizes = {submit.id: len(submit.ids) for submit in self._submits}
            if sizes != self._queued or self._tokens != sum(sizes.values()):
                raise RuntimeError(
                    f"queue places of {sorted(self._queued)[:8]}, {self._tokens} tokens, are "
                    f"counted; waiting are {sorted(sizes)[:8]}"
                )

    def wait(self, seconds: float) -> bool:
        """Blocks until there is something to drain or `wake` was called; False if neither."""
        with self._lock:
            woken = self._lock.wait_for(self._anything, seconds)
            self._woken = False
            return woken

    def _anything(self) -> bool:
        return bool(self._submits or self._aborts or self._woken)

    def wake(self) -> None:
        """Ends a `wait` now."""
        with self._lock:
            self._woken = True
            self._lock.notify()

    def close(self, reason: EngineDead | NotReady) -> None:
        """Refuses new requests with `reason` from now on; the first reason given stays unless a
        dead engine replaces a draining one."""
        with self._lock:
            if self._closed is None or isinstance(reason, EngineDead):
                self._closed = reason
            self._woken = True
            self._lock.notify()
