"""One request's answer for an event loop."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING

from treadle.types import Delta

if TYPE_CHECKING:
    from treadle.engine.channel import Channel
    from treadle.engine.intake import Prepared
    from treadle.engine.runner import Engine


class Stream:
    """Deltas of one request: an async iterator and an async context manager.

    Each choice's last delta has a finish_reason and usage; then the iteration ends, or raises the
    error that ended the request. Leaving the block, `close` or dropping the stream aborts what
    still runs within one step.
    """

    def __init__(
        self,
        engine: Engine,
        request: int,
        prepared: Prepared,
        channel: Channel,
        awake: asyncio.Event,
    ) -> None:
        self.prompt_ids = prepared.ids
        self.notes = prepared.notes  # warnings of the grammar
        self._engine = engine
        self._request = request
        self._channel = channel
        self._awake = awake  # set on the event loop when the channel got something

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Delta:
        while True:
            self._awake.clear()
            try:
                delta = self._channel.take()
            except StopIteration:
                raise StopAsyncIteration from None
            if delta is not None:
                return delta
            await self._awake.wait()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def aclose(self) -> None:
        """Aborts the request if it still runs."""
        self.close()

    def close(self) -> None:
        """Aborts the request if it still runs. Safe to call twice, from any thread."""
        if not self._channel.ended:
            self._engine.abort(self._request)

    def __del__(self) -> None:
        self.close()
