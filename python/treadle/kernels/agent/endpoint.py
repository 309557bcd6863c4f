"""A client of one OpenAI-compatible endpoint: one question, one reply, bounded in time and size."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from treadle.errors import (
    InvalidRequest,
    NotFound,
    Overloaded,
    Timeout,
    TreadleError,
    Unauthorized,
)

MAX_REPLY = 8 << 20
TRIES = 3
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said. tokens: of question and answer; estimated where the endpoint is silent.
    cut: it stopped at its limit of tokens."""

    text: str
    tokens: int
    estimated: bool
    cut: bool


@dataclass(slots=True)
class Endpoint:
    """`base_url` as OpenAI's clients take it, ending in `/v1`. key: name of the environment
    variable that holds the API key; none is sent where it is not set. Redirects are not followed,
    so the key goes nowhere else. Raises InvalidRequest for a URL that cannot be one."""

    base_url: str
    model: str
    key: str = "OPENAI_API_KEY"
    timeout: float = 300.0
    temperature: float = 0.7
    _plain: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname or url.query or url.username:
            raise InvalidRequest(
                f"{self.base_url!r} is no endpoint", at="--base-url", hint="http(s)://HOST/v1"
            )
        if url.scheme == "http" and os.environ.get(self.key) and url.hostname not in _LOCAL:
            raise InvalidRequest(
                f"the key in {self.key} would travel unencrypted", at="--base-url",
                hint="use https, or unset the variable",
            )  # fmt: skip

    def ask(
        self,
        messages: Sequence[Mapping[str, str]],
        schema: Mapping[str, Any],
        max_tokens: int,
        deadline: float,
    ) -> Reply:
        """One completion, its text bound to `schema` where the endpoint can. deadline: on
        `time.monotonic`. Raises Timeout, Unauthorized, NotFound, Overloaded, InvalidRequest."""
        deadline = min(deadline, time.monotonic() + self.timeout)
        status, data = 0, b""
        for attempt in range(TRIES):
            body: dict[str, Any] = {
                "model": self.model, "messages": list(messages), "max_tokens": max_tokens,
                "temperature": self.temperature,
            }  # fmt: skip
            if not self._plain:
                named = {"name": "proposal", "strict": True, "schema": schema}
                body["response_format"] = {"type": "json_schema", "json_schema": named}
            question = json.dumps(body).encode()
            try:
                status, data = self._post(question, deadline)
            except TimeoutError:
                raise Timeout("no answer in time", at=self.base_url, hint="raise --wall") from None
            except (OSError, http.client.HTTPException) as error:
                status, data = 503, str(error).encode()
            if status in (400, 422) and not self._plain:
                self._plain = True  # it knows no response_format; fenced code will do
                continue
            if status == 200:
                return _reply(data, len(question), self.base_url)
            if status != 429 and status < 500:
                break
            if attempt + 1 < TRIES:
                time.sleep(max(0.0, min(2.0**attempt, deadline - time.monotonic())))
        raise _refusal(status, data, self)

    def _post(self, body: bytes, deadline: float) -> tuple[int, bytes]:
        url = urlsplit(self.base_url)
        secure = url.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        link = kind(url.hostname or "", url.port, timeout=left)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        secret = os.environ.get(self.key)
        if secret:
            headers["Authorization"] = f"Bearer {secret}"
        try:
            link.request("POST", url.path.rstrip("/") + "/chat/completions", body, headers)
            socket = link.sock
            answer = link.getresponse()
            data = b""
            while piece := answer.read1(1 << 16):
                data += piece
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                if len(data) > MAX_REPLY:
                    raise http.client.HTTPException(f"more than {MAX_REPLY} bytes")
                socket.settimeout(left)  # a drip would otherwise last for ever
            return answer.status, data
        finally:
            link.close()


def _reply(data: bytes, asked: int, at: str) -> Reply:
    try:
        found: Any = json.loads(data)
        choice = found["choices"][0]
        text = choice["message"]["content"]
        usage: Any = found.get("usage") or None
        told = usage and usage.get("total_tokens")
        cut = choice.get("finish_reason") == "length"
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise InvalidRequest("its answer is no chat completion", at=at, hint="check it") from None
    text = text if isinstance(text, str) else ""
    if isinstance(told, int) and told > 0:
        return Reply(text, told, False, cut)
    return Reply(text, estimate(asked + len(text.encode())), True, cut)


def estimate(size: int) -> int:
    """Tokens of so many bytes, rather too many than too few."""
    return size // 3 + 1


def _refusal(status: int, data: bytes, to: Endpoint) -> TreadleError:
    said = " ".join(data[:300].decode("utf-8", "replace").split())
    if status in (401, 403):
        return Unauthorized(f"status {status}", at=to.base_url, hint=f"set {to.key}")
    if status == 404:
        return NotFound(said or "status 404", at=to.base_url, hint="check --base-url and --model")
    if status == 429 or status >= 500:
        return Overloaded(f"{to.base_url}: status {status}: {said}")
    return InvalidRequest(f"status {status}: {said}", at=to.base_url, hint="check --model")
