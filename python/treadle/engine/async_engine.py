"""The engine for an event loop: what the server talks to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from treadle.engine.channel import Channel
from treadle.engine.intake import Intake
from treadle.engine.load import Loaded, load
from treadle.engine.loop import LoopOptions
from treadle.engine.runner import Engine
from treadle.engine.stats import Stats
from treadle.engine.stream import Stream
from treadle.errors import NotReady, Overloaded
from treadle.limits import Limits
from treadle.types import Delta, Generate, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.text import Tokenizer, ToolFormat

T = TypeVar("T")
_INTAKE_THREADS = 2
_INTAKE_WAITING = 64  # requests being rendered or compiled, or waiting for it


@dataclass(slots=True)
class _Running:
    """What exists between start and close."""

    loaded: Loaded
    engine: Engine
    intake: Intake
    threads: ThreadPoolExecutor
    loop: asyncio.AbstractEventLoop


class AsyncEngine:
    """One model behind `await submit(request)`. Use it from one event loop.

        async with AsyncEngine("smollm2-135m") as engine:
            async for delta in await engine.submit(Generate(prompt="Once")): ...

    `model` is a source for `load` (with `backend` and its other options) or a `Loaded`.
    """

    def __init__(
        self,
        model: str | Loaded,
        *,
        backend: str | None = None,
        limits: Limits | None = None,
        overlap: bool = True,
        target_step: float = 0.05,
        watchdog: float = 60.0,
        **options: Any,
    ) -> None:
        self.limits = limits or Limits()
        self._model = model
        self._options: dict[str, Any] = {"backend": backend, **options}
        self._loop_options = (overlap, target_step)
        self._watchdog = watchdog
        self._running: _Running | None = None
        self._preparing = 0
        self._draining = False
        self._awake: dict[Channel, asyncio.Event] = {}  # of requests that have not ended

    @classmethod
    def connect(cls, model: str | Loaded, **options: Any) -> AsyncEngine:
        """An engine that is not started yet; `async with`, `start` or `stream` starts it."""
        return cls(model, **options)

    async def __aenter__(self) -> AsyncEngine:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Loads the model and starts the loop. Raises what `load` raises."""
        if self._running is not None:
            return
        threads = ThreadPoolExecutor(_INTAKE_THREADS, "treadle-intake")
        loop = asyncio.get_running_loop()
        try:
            running = await loop.run_in_executor(threads, self._open, threads, loop)
        except BaseException:
            threads.shutdown(wait=False)
            raise
        self._running = running
        running.engine.start()

    async def close(self, drain: float = 0.0) -> None:
        """Refuses new requests, lets running ones finish for `drain` seconds, ends the others with
        NotReady, frees the model. Safe to call twice."""
        self._draining = True
        running = self._running
        if running is None:
            return
        await asyncio.to_thread(running.engine.close, drain)
        running.threads.shutdown(wait=False, cancel_futures=True)

    async def submit(self, request: Generate, *, priority: int = 0, salt: bytes = b"") -> Stream:
        """Prepares and queues a request.

        Higher `priority` goes first; `salt` separates tenants in the prefix cache. Raises
        InvalidRequest, ContextOverflow, LimitExceeded, GrammarError, Overloaded, NotReady,
        EngineDead: all before anything is queued.
        """
        running = self._ready_parts()
        prepared = await self._in_thread(running.intake.prepare, request)
        channel = Channel(self.limits.undelivered_deltas, self.limits.slow_reader_seconds)
        number = running.engine.next_id()
        submit = prepared.submit(number, priority=priority, salt=salt)
        awake = self._awake[channel] = asyncio.Event()
        try:
            running.engine.submit(submit, channel)
        except BaseException:
            del self._awake[channel]
            raise
        return Stream(running.engine, number, prepared, channel, awake)

    async def stream(self, request: Generate) -> AsyncGenerator[Delta, None]:
        """Deltas of one request; starts the engine if need be. Leaving the iterator aborts."""
        await self.start()
        async with await self.submit(request) as stream:
            async for delta in stream:
                yield delta

    async def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Ids of a text as a prompt would be tokenised; `special` adds the begin token that the
        model's prompts have."""
        tokenizer = self.tokenizer
        begin = special and tokenizer.adds_bos
        return await self._in_thread(lambda: tokenizer.encode(text, special=True, bos=begin))

    async def tokenize_messages(self, messages: Sequence[Message]) -> list[int]:
        """Ids of messages as the chat template renders them."""
        intake = self._ready_parts().intake
        return await self._in_thread(intake.prompt_ids, Generate(messages=tuple(messages)))

    @property
    def healthy(self) -> bool:
        """Whether the engine is started and alive."""
        return self._running is not None and self._running.engine.healthy

    @property
    def ready(self) -> bool:
        """Whether a new request would be taken: alive, not draining, queue below 80 %."""
        running = self._running
        return (
            self.healthy
            and not self._draining
            and running is not None
            and (running.engine.inbox.load < 0.8)
        )

    @property
    def stats(self) -> Stats:
        """Counters, gauges and histograms of the engine."""
        return self._parts().engine.stats

    @property
    def name(self) -> str:
        """The model's name."""
        return self._parts().loaded.name

    @property
    def context(self) -> int:
        """Most tokens of prompt and output together."""
        return self._parts().loaded.context

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self._parts().loaded.tokenizer

    @property
    def tool_format(self) -> ToolFormat:
        """How the model writes tool calls; `.reader()` splits its output."""
        return self._parts().loaded.tool_format

    @property
    def fingerprint(self) -> str:
        """OpenAI's system_fingerprint: changes with graph, backend and version."""
        return self._parts().loaded.fingerprint

    def _open(self, threads: ThreadPoolExecutor, loop: asyncio.AbstractEventLoop) -> _Running:
        model = self._model
        loaded = (
            model if isinstance(model, Loaded) else load(model, limits=self.limits, **self._options)
        )
        overlap, target_step = self._loop_options
        engine = Engine(
            loaded.exe,
            loaded.table,
            limits=self.limits,
            options=LoopOptions(
                self.limits.sequences,
                self.limits.batch_tokens,
                target_step,
                overlap,
                loaded.identity,
                loaded.tokenizer.encode,
            ),
            after_frame=self._after_frame,
            watchdog=self._watchdog,
        )
        intake = Intake(loaded, self.limits, engine.stats)
        intake.warm()
        return _Running(loaded, engine, intake, threads, loop)

    def _parts(self) -> _Running:
        if self._running is None:
            raise NotReady("the engine is not started", hint="await engine.start()")
        return self._running

    def _ready_parts(self) -> _Running:
        if self._draining:
            raise NotReady("the engine is shutting down", hint="retry elsewhere")
        return self._parts()

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        running = self._parts()
        if self._preparing >= _INTAKE_WAITING:
            running.engine.stats.rejected["overloaded"] += 1
            raise Overloaded(
                f"{self._preparing} requests are being prepared", hint="retry after a second"
            )
        self._preparing += 1
        try:
            return await running.loop.run_in_executor(running.threads, work, *args)
        finally:
            self._preparing -= 1

    def _after_frame(self, channels: list[Channel]) -> None:
        """On the engine's thread: one wake-up of the event loop a step, for all streams."""
        running = self._running
        assert running is not None
        try:
            running.loop.call_soon_threadsafe(self._wake, channels)
        except RuntimeError:
            return  # the event loop is closed: nobody is left to wake

    def _wake(self, channels: list[Channel]) -> None:
        for channel in channels:
            awake = self._awake.get(channel)
            if awake is None:
                continue
            awake.set()
            if channel.ended:
                del self._awake[channel]
