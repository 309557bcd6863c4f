"""The ASGI application: the route table, and what wraps every request."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.errors import InvalidRequest, NotFound, TreadleError
from treadle.server import ops
from treadle.server.auth import Keys, route
from treadle.server.chat import chat
from treadle.server.completions import completions
from treadle.server.context import ServerContext
from treadle.server.headers import HeaderGuard
from treadle.server.metrics import metrics
from treadle.server.respond import error_response

Handler = Callable[[Request, ServerContext], Awaitable[Response]]
Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]

_log = logging.getLogger("treadle.server")

# path, handler, method, open without a key
ROUTES: tuple[tuple[str, Handler, str, bool], ...] = (
    ("/v1/chat/completions", chat, "POST", False),
    ("/v1/completions", completions, "POST", False),
    ("/v1/models", ops.models, "GET", False),
    ("/v1/models/{id:path}", ops.model, "GET", False),
    ("/tokenize", ops.tokenize, "POST", False),
    ("/detokenize", ops.detokenize, "POST", False),
    ("/health", ops.health, "GET", True),
    ("/ready", ops.ready, "GET", True),
    ("/version", ops.version, "GET", True),
    ("/metrics", metrics, "GET", True),
)


def build_app(
    context: ServerContext, keys: Sequence[str] = (), lifespan: Lifespan | None = None
) -> Starlette:
    """The application over a running engine. Without keys every route is open."""
    accepted = Keys(keys)
    return Starlette(
        routes=[_bind(*row, context, accepted) for row in ROUTES],
        lifespan=lifespan,
        middleware=[Middleware(HeaderGuard, limits=context.limits)],
        exception_handlers={HTTPException: _http_error, Exception: _internal_error},
    )


def _bind(
    path: str, handler: Handler, method: str, public: bool, context: ServerContext, keys: Keys
) -> Route:
    async def endpoint(request: Request) -> Response:
        return await handler(request, context)

    return route(path, endpoint, [method], keys=keys, public=public)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        refusal: TreadleError = InvalidRequest(
            f"this route does not take {request.method}",
            hint=f"use {(error.headers or {}).get('Allow', 'another method')}",
        )
        response = error_response(refusal)
        response.status_code = 405
        return response
    return error_response(NotFound("no such route", hint="see /v1/models, /v1/chat/completions"))


async def _internal_error(request: Request, error: Exception) -> Response:
    _log.exception("unexpected error", exc_info=error)
    return error_response(TreadleError("internal error", hint="see the server's log"))
