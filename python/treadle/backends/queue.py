"""A stream for devices that have none: one thread that runs submitted calls in order."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from treadle.errors import EngineDead

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_JOIN_SECONDS = 5.0


class Call(Generic[T]):
    """The result of a submitted call, or the exception it raised.

    A call that is never waited for costs nothing and blocks nobody; a call that can no longer run
    because its queue was closed raises EngineDead from `wait`.
    """

    __slots__ = ("_done", "_error", "_function", "_value")

    def __init__(self, function: Callable[[], T]) -> None:
        self._function: Callable[[], T] | None = function
        self._done = threading.Event()
        self._value: T | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Runs the call on the current thread; what it raises is kept for `wait`."""
        function, self._function = self._function, None
        if function is None:
            return
        try:
            value = function()
        except BaseException as error:  # carried to the waiter, whatever it is
            self.fail(error)
        else:
            if not self._done.is_set():  # a close that gave up on this call has answered already
                self._value = value
                self._done.set()

    def fail(self, error: BaseException) -> None:
        """Answers with an error, unless there is an answer already."""
        if not self._done.is_set():
            self._error = error
            self._function = None
            self._done.set()

    def done(self) -> bool:
        """Whether `wait` would return or raise at once."""
        return self._done.is_set()

    def wait(self) -> T:
        """Blocks until the call has run. Raises what it raised, or EngineDead after a close."""
        self._done.wait()
        if self._error is not None:
            raise self._error
        return cast("T", self._value)


class CallQueue:
    """Runs calls one after the other on a thread of its own, in the order of `submit`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: deque[Call[object]] = deque()
        self._changed = threading.Condition()
        self._running: Call[object] | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[[], T]) -> Call[T]:
        """Queues a call and returns at once. Raises EngineDead after `close`."""
        call = Call(function)
        with self._changed:
            if self._closed:
                raise EngineDead(f"{self._name} is closed", hint="compile the model again")
            self._calls.append(cast("Call[object]", call))
            self._changed.notify()
        return call

    def close(self, seconds: float = _JOIN_SECONDS) -> None:
        """Ends the thread: queued calls raise EngineDead, the running one may finish.

        A call that is still running after `seconds` is given up: its waiters get EngineDead too,
        and the thread, a daemon, ends when the call returns. Closing twice is harmless.
        """
        with self._changed:
            self._closed = True
            dropped = list(self._calls)
            self._calls.clear()
            self._changed.notify()
        for call in dropped:
            call.fail(self._dead())
        if threading.current_thread() is self._thread:
            return
        self._thread.join(seconds)
        running = self._running
        if running is not None:
            running.fail(self._dead())

    def _dead(self) -> EngineDead:
        return EngineDead(f"{self._name} was closed before this call was done")

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not self._calls and not self._closed:
                    self._changed.wait()
                if not self._calls:
                    return
                call = self._running = self._calls.popleft()
            call.run()
            self._running = None
            del call  # an idle thread must not keep the last result alive
