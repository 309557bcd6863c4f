"""Event streams: framing, silence, errors after the first byte, and readers that leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from treadle.errors import EngineDead
from treadle.server.sse import event_stream


async def _body(response: Any, most: int = 100) -> list[str]:
    lines: list[str] = []
    async for chunk in response.body_iterator:
        lines.append(chunk.decode())
        if len(lines) == most:
            break
    return lines


def test_events_end_with_done() -> None:
    async def events() -> AsyncGenerator[Any, None]:
        yield {"a": 1}
        yield {"b": "ü\n"}

    lines = asyncio.run(_body(event_stream(events())))
    assert [json.loads(line[6:]) for line in lines[:-1]] == [{"a": 1}, {"b": "ü\n"}]
    assert lines[-1] == "data: [DONE]\n\n"
    assert all(line.startswith("data: ") and line.endswith("\n\n") for line in lines)
    assert all("\n" not in line[:-2] for line in lines)


def test_silence_is_filled_with_comments_and_loses_no_event() -> None:
    async def events() -> AsyncGenerator[Any, None]:
        await asyncio.sleep(0.05)
        yield 1

    lines = asyncio.run(_body(event_stream(events(), ping=0.01)))
    assert lines[0] == ": ping\n\n"
    assert [line for line in lines if line != ": ping\n\n"] == ["data: 1\n\n", "data: [DONE]\n\n"]


def test_an_error_after_the_first_byte_ends_the_stream_without_done() -> None:
    async def events() -> AsyncGenerator[Any, None]:
        yield 1
        raise EngineDead("the engine stopped")

    lines = asyncio.run(_body(event_stream(events())))
    assert len(lines) == 2
    assert json.loads(lines[1][6:])["error"]["code"] == "engine_dead"


def test_a_reader_that_leaves_closes_the_events() -> None:
    closed: list[bool] = []

    async def events() -> AsyncGenerator[Any, None]:
        try:
            while True:
                yield 1
                await asyncio.sleep(0)
        finally:
            closed.append(True)

    async def leave() -> None:
        response = event_stream(events())
        await _body(response, most=2)
        await response.body_iterator.aclose()  # type: ignore[attr-defined]

    asyncio.run(leave())
    assert closed == [True]
