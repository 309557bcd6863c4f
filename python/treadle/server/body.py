"""Reads and checks a request body: size, time, depth, then types. Errors name the field."""

from __future__ import annotations

import asyncio
import re
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from treadle.errors import Cancelled, InvalidRequest, LimitExceeded, Timeout
from treadle.limits import Limits

T = TypeVar("T")

_STRINGS_AND_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<field>.*)`")
_MISSING = re.compile(r"^Object missing required field `(?P<field>.*)`")
_AT = re.compile(r" - at `(?P<path>(?:key in )?\$.*)`$")


async def read_body(request: Request, limits: Limits) -> bytes:
    """The whole body, at most `limits.body_bytes` and within `limits.body_seconds`.

    Raises LimitExceeded (413), Timeout, or Cancelled when the client left.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limits.body_bytes:
        raise _too_large(int(declared), limits)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.body_bytes:
                    raise _too_large(size, limits)
                chunks.append(chunk)
    except TimeoutError:
        raise Timeout(f"the body did not arrive within {limits.body_seconds:g} s") from None
    except ClientDisconnect:
        raise Cancelled("the client left before its body had arrived") from None
    return b"".join(chunks)


def decode_body(data: bytes, kind: type[T], limits: Limits) -> T:
    """The body as `kind`. Raises InvalidRequest whose `at` is the JSON pointer of the field."""
    check_depth(data, limits.json_depth)
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(
            f"the body is not JSON: {error}", hint="send a JSON object in UTF-8"
        ) from None


def check_depth(data: bytes, maximum: int) -> None:
    """Refuses bodies nested deeper than `maximum`, before a parser recurses into them."""
    if data.count(b"[") + data.count(b"{") <= maximum:
        return
    depth = 0
    for match in _STRINGS_AND_BRACKETS.finditer(data):
        token = match.group()
        if token in (b"[", b"{"):
            depth += 1
            if depth > maximum:
                raise LimitExceeded("json_depth", depth, maximum, at=f"byte {match.start()}")
        elif token in (b"]", b"}"):
            depth -= 1


def pointer(path: str) -> str:
    """A msgspec path (`$.messages[0].role`) as a JSON pointer (`/messages/0/role`)."""
    steps = re.findall(r"\.([^.\[\]]+)|\[([^\]]*)\]", path)
    return "".join("/" + (name or index) for name, index in steps)


def _explain(text: str) -> InvalidRequest:
    at = ""
    if place := _AT.search(text):
        at = pointer(place["path"].removeprefix("key in "))
        text = text[: place.start()]
    if unknown := _UNKNOWN.match(text):
        at = f"{at}/{unknown['field']}"
        return InvalidRequest("unknown field", at=at, hint="remove it or check its spelling")
    if missing := _MISSING.match(text):
        at = f"{at}/{missing['field']}"
        return InvalidRequest("required field is missing", at=at, hint="add it")
    return InvalidRequest(text[:1].lower() + text[1:], at=at or "/")


def _too_large(size: int, limits: Limits) -> LimitExceeded:
    return LimitExceeded(
        "body_bytes", size, limits.body_bytes, hint="send a smaller body", http_status=413
    )
