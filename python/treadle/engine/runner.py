"""The engine in this process: the loop on its own thread, a watchdog beside it.

The wire between two processes will replace this file's direct calls by frames; what passes is the
same: `Submit` and abort in, `Event` frames out.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

from treadle.engine.channel import Channel
from treadle.engine.inbox import Inbox, again
from treadle.engine.loop import Frame, InFlight, Loop, LoopOptions
from treadle.engine.request import Event, Submit
from treadle.engine.stats import Stats
from treadle.errors import EngineDead, NotReady, TreadleError
from treadle.limits import Limits

if TYPE_CHECKING:
    from treadle.backends.base import Executable
    from treadle.types import TokenTable

_BEAT = 1.0  # seconds between heartbeats of an idle loop
_QUIET = 0.1  # seconds without a request after which the books are checked


class Engine:
    """Runs one executable. Thread-safe; `start` before the first `submit`, `close` at the end.

    `after_frame` gets the channels that a step has touched, on the loop's thread. A step that
    lasts longer than `watchdog` seconds ends the engine and dumps every thread's stack.
    """

    def __init__(
        self,
        exe: Executable,
        table: TokenTable,
        *,
        limits: Limits | None = None,
        options: LoopOptions | None = None,
        after_frame: Callable[[list[Channel]], None] | None = None,
        watchdog: float = 60.0,
    ) -> None:
        limits = limits or Limits()
        self.stats = Stats()
        self.inbox = Inbox(limits.queue_requests, limits.queue_tokens)
        self.dead: EngineDead | None = None
        self.heartbeat = time.monotonic()
        self._options = options or LoopOptions()
        self._loop = Loop(exe, table, self.inbox, self._deliver, self._options, self.stats)
        self._after_frame = after_frame
        self._watchdog = watchdog
        self._channels: dict[int, Channel] = {}
        self._lock = threading.Lock()
        self._ids = count(1)
        self._busy = False
        self._checked = True
        self._stop = threading.Event()
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name="treadle-loop", daemon=True),
            threading.Thread(target=self._watch, name="treadle-watchdog", daemon=True),
        ]

    @property
    def healthy(self) -> bool:
        """Whether the engine lives: not dead, and a heartbeat less than five seconds old, or a
        step running that the watchdog has not given up."""
        if self.dead is not None or self._stopped.is_set():
            return False
        return self._busy or time.monotonic() - self.heartbeat < 5.0

    @property
    def busy(self) -> bool:
        """Whether a request is queued or running."""
        return bool(self._channels)

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def next_id(self) -> int:
        """A request id that was never used in this engine."""
        return next(self._ids)

    def submit(self, submit: Submit, channel: Channel) -> None:
        """Queues a request whose events go to `channel`.

        Raises Overloaded when the queue is full, NotReady while closing, EngineDead afterwards.
        """
        with self._lock:
            if self.dead is not None:
                raise again(self.dead)
            self._channels[submit.id] = channel
        try:
            self.inbox.put(submit)
        except TreadleError as error:
            with self._lock:
                self._channels.pop(submit.id, None)
            self.stats.rejected[error.code] += 1
            raise

    def abort(self, request: int) -> None:
        """Ends a request within a step; nothing happens if it has ended."""
        self.inbox.abort(request)

    def close(self, drain: float = 0.0) -> None:
        """Refuses new requests, lets running ones finish for `drain` seconds, then ends them with
        NotReady and frees the device. Safe to call twice."""
        self.inbox.close(NotReady("the engine is shutting down", hint="retry elsewhere"))
        deadline = time.monotonic() + drain
        while self._channels and self.dead is None and time.monotonic() < deadline:
            time.sleep(0.02)
        self._stop.set()
        self.inbox.wake()
        if self._threads[0].is_alive():
            self._threads[0].join(5.0)

    def _run(self) -> None:
        loop, prev = self._loop, None
        try:
            while not self._stop.is_set():
                self.heartbeat = time.monotonic()
                prev = self._turn(prev)
            if prev is not None:
                loop.collect(prev)
            loop.fail_all(NotReady("the engine was shut down", hint="retry elsewhere"))
        except BaseException as error:  # whatever it is, every request must hear of it
            self._die(error)
        finally:
            self._stopped.set()
            with suppress(Exception):  # a broken device may also fail to close
                loop.exe.close()

    def _turn(self, prev: InFlight | None) -> InFlight | None:
        """One step. With nothing left to do it sleeps on the inbox, and checks the books once the
        quiet has lasted: a client that asks again at once does not wait for that."""
        loop, self._busy = self._loop, True
        if self._options.overlap:
            cur = loop.step(prev)
            moved = cur is not None or prev is not None
        else:
            cur, moved = None, loop.step_plain()
        if moved:
            self._checked = False
            return cur
        if loop.requests:
            raise RuntimeError(f"requests {sorted(loop.requests)[:8]} wait and nothing runs")
        self._busy = False
        if not self._checked and not self.inbox.wait(_QUIET):
            loop.check_integrity()
            self._checked = True
        elif self._checked:
            self.inbox.wait(_BEAT)
        return cur

    def _deliver(self, frame: Frame) -> None:
        touched: dict[int, Channel] = {}
        with self._lock:
            for event in frame:
                channel = self._channels.get(event.id)
                if channel is None:
                    continue
                if event.end:
                    del self._channels[event.id]
                if not channel.put(event):
                    self.inbox.abort(event.id)
                touched[event.id] = channel
        if touched and self._after_frame is not None:
            self._after_frame(list(touched.values()))

    def _die(self, cause: BaseException | str) -> None:
        detail = cause if isinstance(cause, str) else f"{type(cause).__name__}: {cause}"
        dead = EngineDead(f"the engine stopped ({detail})", hint="restart it")
        if isinstance(cause, BaseException):
            dead.__cause__ = cause
        with self._lock:
            if self.dead is not None:
                return
            self.dead = dead
            channels, self._channels = list(self._channels.items()), {}
            for number, channel in channels:
                channel.put(Event(number, end=True, error=again(dead)))
        self.inbox.close(dead)
        if channels and self._after_frame is not None:
            self._after_frame([channel for _, channel in channels])

    def _watch(self) -> None:
        while not self._stopped.wait(min(1.0, self._watchdog / 4)):
            quiet = time.monotonic() - self.heartbeat
            if self._busy and quiet > self._watchdog:
                faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
                self._die(f"no step for {quiet:.0f} s")
                return
