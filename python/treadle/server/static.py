"""The browser page, its engine and a bundle as static files on this machine's own address."""

from __future__ import annotations

import mimetypes
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from treadle.errors import InvalidRequest

HOST = "127.0.0.1"
_CSP = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'"
_KINDS = {
    ".js": "text/javascript",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".jinja": "text/plain",
    ".wgsl": "text/plain",
    ".bin": "application/octet-stream",
}


def site(page: Path, bundle: Path, *, isolated: bool = True) -> Starlette:
    """`page` at /, `bundle` at /bundle/, with ranges and the headers that threads in wasm need.

    Only requests by the names of this machine are answered, so that no other site can reach the
    files through a name of its own.
    """
    for suffix, kind in _KINDS.items():
        mimetypes.add_type(kind, suffix)
    return Starlette(
        routes=[
            Mount("/bundle", StaticFiles(directory=bundle)),
            Mount("/", StaticFiles(directory=page, html=True)),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]),
            Middleware(_Headers, isolated=isolated),
        ],
    )


class _Headers:
    """Adds the same headers to every answer."""

    def __init__(self, app: ASGIApp, *, isolated: bool) -> None:
        self._app = app
        self._headers = [
            (b"content-security-policy", _CSP.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-cache"),
            (b"cross-origin-resource-policy", b"same-origin"),
        ]
        if isolated:
            self._headers += [
                (b"cross-origin-opener-policy", b"same-origin"),
                (b"cross-origin-embedder-policy", b"require-corp"),
            ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._headers]
            await send(message)

        await self._app(scope, receive, add if scope["type"] == "http" else send)


def serve_site(app: Starlette, port: int, ready: Callable[[str], None]) -> int:
    """Serves until a signal; `ready` gets the address. Raises InvalidRequest for a taken port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((HOST, port))
        except OSError as error:
            raise InvalidRequest(
                f"cannot listen on {HOST}:{port}: {error.strerror}",
                at="--port",
                hint="choose another port, or 0 for any free one",
            ) from None
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="off", server_header=False
        )
        bound.listen()  # a browser that is quick waits, and is not refused
        ready(f"http://{HOST}:{bound.getsockname()[1]}/")
        try:
            uvicorn.Server(config).run(sockets=[bound])
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
    return 0
