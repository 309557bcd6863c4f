"""POST /v1/chat/completions: streamed or whole, with tools and structured outputs.

A choice is split into text and calls by the model family's `CallReader`; both the streamed and
the whole answer are made of the same events.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from treadle.engine import Stream
from treadle.server.body import decode_body, read_body
from treadle.server.context import ServerContext, merge_usage, new_id, now, usage_body
from treadle.server.convert import chat_request, check_model
from treadle.server.disconnect import until_gone
from treadle.server.respond import json_response
from treadle.server.sse import event_stream
from treadle.server.wire import ChatBody
from treadle.types import Generate, TokenLogprob, Usage


async def chat(request: Request, context: ServerContext) -> Response:
    """Answers one chat request."""
    data = await read_body(request, context.limits)
    body = decode_body(data, ChatBody, context.limits)
    check_model(body.model, context.models)
    wanted = chat_request(body)
    stream = await context.engine.submit(wanted, salt=request.state.salt)
    if body.stream:
        return event_stream(_chunks(stream, body, wanted, context))
    return json_response(await until_gone(request, _whole(stream, wanted, context)))


@dataclass(slots=True)
class _Choice:
    """One choice as it grows: what has been said, and the calls made so far."""

    reader: Any
    text: list[str] = field(default_factory=list[str])
    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    finish_reason: str | None = None

    def push(self, text: str, last: bool) -> list[dict[str, Any]]:
        """OpenAI deltas that `text` adds; `last` flushes what was held back."""
        if self.reader is None:
            events = [("text", text)] if text else []
        else:
            events = list(self.reader.push(text))
            if last:
                events += self.reader.finish()
        return [delta for event in events for delta in self._delta(event)]

    def _delta(self, event: Any) -> list[dict[str, Any]]:
        kind, value = event
        if kind == "text":
            self.text.append(value)
            return [{"content": value}]
        if kind == "call":
            call: dict[str, Any] = {
                "id": new_id("call"),
                "type": "function",
                "function": {"name": value, "arguments": ""},
            }
            self.calls.append(call)
            index = len(self.calls) - 1
            return [{"tool_calls": [{"index": index, **call, "function": dict(call["function"])}]}]
        if kind == "arguments":
            self.calls[-1]["function"]["arguments"] += value
            index = len(self.calls) - 1
            return [{"tool_calls": [{"index": index, "function": {"arguments": value}}]}]
        return []

    @property
    def reason(self) -> str | None:
        """The finish reason in OpenAI's words."""
        if self.finish_reason == "stop" and self.calls:
            return "tool_calls"
        return self.finish_reason


def _choices(wanted: Generate, context: ServerContext) -> list[_Choice]:
    tools = bool(wanted.tools) and wanted.tool_choice != "none"
    return [
        _Choice(context.engine.tool_format.reader(tools=wanted.tools) if tools else None)
        for _ in range(wanted.sampling.n)
    ]


async def _whole(stream: Stream, wanted: Generate, context: ServerContext) -> dict[str, Any]:
    choices = _choices(wanted, context)
    usages: list[Usage] = []
    async with stream:
        async for delta in stream:
            choice = choices[delta.index]
            choice.finish_reason = delta.finish_reason or choice.finish_reason
            choice.push(delta.text, last=delta.finish_reason is not None)
            choice.logprobs += delta.logprobs
            if delta.usage:
                usages.append(delta.usage)
    return {
        **_head(context, "chat.completion"),
        "choices": [_choice_body(i, choice, wanted) for i, choice in enumerate(choices)],
        "usage": usage_body([merge_usage(usages)]),
    }


def _choice_body(index: int, choice: _Choice, wanted: Generate) -> dict[str, Any]:
    text = "".join(choice.text)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if choice.calls:
        message["content"] = text or None
        message["tool_calls"] = choice.calls
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(choice.logprobs, wanted),
        "finish_reason": choice.reason,
    }


async def _chunks(
    stream: Stream, body: ChatBody, wanted: Generate, context: ServerContext
) -> AsyncGenerator[dict[str, Any], None]:
    head = _head(context, "chat.completion.chunk")
    include_usage = bool(body.stream_options and body.stream_options.include_usage)
    choices = _choices(wanted, context)
    usages: list[Usage] = []
    async with stream:
        for index in range(len(choices)):
            yield _chunk(head, index, {"role": "assistant", "content": ""}, include_usage)
        async for delta in stream:
            choice = choices[delta.index]
            choice.finish_reason = delta.finish_reason or choice.finish_reason
            logprobs = _logprobs(delta.logprobs, wanted)
            for part in choice.push(delta.text, last=delta.finish_reason is not None):
                yield _chunk(head, delta.index, part, include_usage, logprobs)
                logprobs = None
            if logprobs is not None and delta.logprobs:
                yield _chunk(head, delta.index, {}, include_usage, logprobs)
            if delta.usage:
                usages.append(delta.usage)
            if delta.finish_reason:
                yield _chunk(head, delta.index, {}, include_usage, reason=choice.reason)
    if include_usage:
        yield {**head, "choices": [], "usage": usage_body([merge_usage(usages)])}


def _chunk(
    head: dict[str, Any],
    index: int,
    delta: dict[str, Any],
    include_usage: bool,
    logprobs: Any = None,
    reason: str | None = None,
) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
    return {**head, "choices": [choice], **({"usage": None} if include_usage else {})}


def _head(context: ServerContext, kind: str) -> dict[str, Any]:
    return {
        "id": new_id("chatcmpl"),
        "object": kind,
        "created": now(),
        "model": context.name,
        "system_fingerprint": context.fingerprint,
    }


def _logprobs(entries: Sequence[TokenLogprob], wanted: Generate) -> dict[str, Any] | None:
    if wanted.sampling.logprobs is None:
        return None
    return {
        "content": [
            {
                **_token(entry.text, entry.logprob),
                "top_logprobs": [_token(text, value) for _, text, value in entry.top],
            }
            for entry in entries
        ],
        "refusal": None,
    }


def _token(text: bytes, logprob: float) -> dict[str, Any]:
    # JSON has no -inf; OpenAI writes -9999.0 for a token of no probability
    value = logprob if logprob > -9999.0 else -9999.0
    return {"token": text.decode("utf-8", "replace"), "logprob": value, "bytes": list(text)}
