"""Refuses requests whose headers are too large (431), before anything reads them."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from treadle.errors import LimitExceeded
from treadle.limits import Limits
from treadle.server.respond import error_response


class HeaderGuard:
    """ASGI middleware over `limits.header_bytes`."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._maximum = limits.header_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            size = sum(len(name) + len(value) for name, value in scope["headers"])
            if size > self._maximum:
                error = LimitExceeded("header_bytes", size, self._maximum, http_status=431)
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
