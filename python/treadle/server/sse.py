"""Server-sent events: one `data:` line an event, a comment in silence, `[DONE]` at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import msgspec
from starlette.responses import StreamingResponse

from treadle.errors import TreadleError
from treadle.server.respond import error_body

PING_SECONDS = 15.0
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def event_stream(
    events: AsyncGenerator[Any, None], *, ping: float = PING_SECONDS
) -> StreamingResponse:
    """Streams `events` as JSON. The generator is closed when the client leaves.

    An error after the first byte becomes one `data: {"error": …}` event and the end of the
    stream, without `[DONE]`.
    """
    return StreamingResponse(_lines(events, ping), media_type="text/event-stream", headers=HEADERS)


async def _lines(events: AsyncGenerator[Any, None], ping: float) -> AsyncIterator[bytes]:
    pending: asyncio.Task[Any] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({pending}, timeout=ping)
            if not done:
                yield b": ping\n\n"
                continue
            event, pending = pending, None
            try:
                yield b"data: " + msgspec.json.encode(event.result()) + b"\n\n"
            except StopAsyncIteration:
                break
            except TreadleError as error:
                yield b"data: " + msgspec.json.encode(error_body(error)) + b"\n\n"
                return
        yield b"data: [DONE]\n\n"
    finally:
        if pending is not None:
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)
        await events.aclose()
