"""Authentication by API key. It sits on the route objects and denies by default.

The check never looks at the request's URL: a path that a middleware matches can differ from the
one that the router dispatches.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.errors import TreadleError, Unauthorized
from treadle.server.respond import error_response

Endpoint = Callable[[Request], Awaitable[Response]]


class Keys:
    """The accepted keys, kept as digests and compared in constant time."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    def check(self, request: Request) -> None:
        """Raises Unauthorized unless no key is configured or the request carries one of them.

        Leaves the tenant's cache salt in `request.state.salt`: timing must not tell one key what
        another has asked.
        """
        request.state.salt = b""
        if not self._digests:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        offered = _digest(token.strip())
        # every digest is compared, so that the time taken does not tell which one matched
        matches = [hmac.compare_digest(offered, digest) for digest in self._digests]
        if scheme.lower() != "bearer" or not any(matches):
            raise Unauthorized(
                "missing or wrong API key", hint="send the header Authorization: Bearer <key>"
            )
        request.state.salt = offered


def route(
    path: str, endpoint: Endpoint, methods: Sequence[str], *, keys: Keys, public: bool = False
) -> Route:
    """A route whose errors are typed responses and that asks for a key unless `public`."""

    async def guarded(request: Request) -> Response:
        try:
            if not public:
                keys.check(request)
            return await endpoint(request)
        except TreadleError as error:
            return error_response(error)

    return Route(path, guarded, methods=list(methods), name=path)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
