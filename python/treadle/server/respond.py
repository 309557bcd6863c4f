"""Errors as OpenAI's clients expect them: {"error": {message, type, param, code}}."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from starlette.responses import Response

from treadle.errors import ContextOverflow, Overloaded, TreadleError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
}


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response; msgspec encodes dataclasses, Structs and plain data alike."""
    return Response(
        msgspec.json.encode(body), status, headers=headers, media_type="application/json"
    )


def error_body(error: TreadleError) -> dict[str, Any]:
    """The error object; `param` is the field in OpenAI's dotted form, `code` ours or OpenAI's."""
    code = "context_length_exceeded" if isinstance(error, ContextOverflow) else error.code
    return {
        "error": {
            "message": str(error),
            "type": _TYPES.get(error.http_status, "server_error"),
            "param": _param(error.at),
            "code": code,
        }
    }


def error_response(error: TreadleError) -> Response:
    """The HTTP response of an error; 429 and 503 say when to come back."""
    headers: dict[str, str] = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    elif error.http_status == 503:
        headers["Retry-After"] = "5"
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return json_response(error_body(error), error.http_status, headers)


def _param(at: str | None) -> str | None:
    """A JSON pointer in the dotted form that OpenAI uses for `param`."""
    return (at or "").strip("/").replace("/", ".") or None
