"""Ends work whose client has left: what a streamed answer gets from its socket, for whole ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import Request

from treadle.errors import Cancelled

T = TypeVar("T")


async def until_gone(request: Request, work: Awaitable[T]) -> T:
    """Awaits `work`, cancelling it when the client disconnects. Raises Cancelled then."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Cancelled("the client left before its answer was complete")
    finally:
        for unfinished in (task, gone):
            unfinished.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
