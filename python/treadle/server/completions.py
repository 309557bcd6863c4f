"""POST /v1/completions: text in, text out, streamed or whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from treadle.engine import Stream
from treadle.errors import InvalidRequest
from treadle.server.body import decode_body, read_body
from treadle.server.context import ServerContext, merge_usage, new_id, now, usage_body
from treadle.server.convert import check_model, completion_requests
from treadle.server.disconnect import until_gone
from treadle.server.respond import json_response
from treadle.server.sse import event_stream
from treadle.server.wire import CompletionBody
from treadle.types import Generate, TokenLogprob, Usage


@dataclass(slots=True)
class _Choice:
    """One choice as it grows."""

    text: list[str] = field(default_factory=list[str])
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    finish_reason: str | None = None


async def completions(request: Request, context: ServerContext) -> Response:
    """Answers one completion request; choices of several prompts are numbered prompt by prompt."""
    data = await read_body(request, context.limits)
    body = decode_body(data, CompletionBody, context.limits)
    check_model(body.model, context.models)
    wanted = completion_requests(body)
    if body.stream:
        if len(wanted) > 1:
            raise InvalidRequest(
                "a stream answers one prompt", at="/prompt", hint="send one prompt a request"
            )
        stream = await context.engine.submit(wanted[0], salt=request.state.salt)
        return event_stream(_chunks(stream, body, wanted[0], context))
    answers = await until_gone(request, _collect_all(wanted, context, request.state.salt))
    choices: list[dict[str, Any]] = []
    usages: list[Usage] = []
    for item, (found, usage) in zip(wanted, answers, strict=True):
        usages.append(usage)
        for choice in found:
            text = _echo(item, context) + "".join(choice.text)
            choices.append(
                {
                    "index": len(choices),
                    "text": text,
                    "logprobs": _logprobs(choice.logprobs, item),
                    "finish_reason": choice.finish_reason,
                }
            )
    return json_response(
        {**_head(context, new_id("cmpl")), "choices": choices, "usage": usage_body(usages)}
    )


async def _collect_all(
    wanted: list[Generate], context: ServerContext, salt: bytes
) -> list[tuple[list[_Choice], Usage]]:
    tasks = [asyncio.ensure_future(_collect(item, context, salt)) for item in wanted]
    try:
        return [await task for task in tasks]
    finally:  # one failure, or the client leaving, ends the others
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _collect(
    item: Generate, context: ServerContext, salt: bytes
) -> tuple[list[_Choice], Usage]:
    choices = [_Choice() for _ in range(item.sampling.n)]
    usages: list[Usage] = []
    async with await context.engine.submit(item, salt=salt) as stream:
        async for delta in stream:
            choice = choices[delta.index]
            choice.text.append(delta.text)
            choice.logprobs += delta.logprobs
            choice.finish_reason = delta.finish_reason or choice.finish_reason
            if delta.usage:
                usages.append(delta.usage)
    return choices, merge_usage(usages)


async def _chunks(
    stream: Stream, body: CompletionBody, item: Generate, context: ServerContext
) -> AsyncGenerator[dict[str, Any], None]:
    head = _head(context, new_id("cmpl"))
    include_usage = bool(body.stream_options and body.stream_options.include_usage)
    usages: list[Usage] = []
    echoed: set[int] = set()
    async with stream:
        async for delta in stream:
            text = delta.text
            if delta.index not in echoed:
                echoed.add(delta.index)
                text = _echo(item, context) + text
            if delta.usage:
                usages.append(delta.usage)
            yield {
                **head,
                "choices": [
                    {
                        "index": delta.index,
                        "text": text,
                        "logprobs": _logprobs(list(delta.logprobs), item),
                        "finish_reason": delta.finish_reason,
                    }
                ],
            }
    if include_usage:
        yield {**head, "choices": [], "usage": usage_body([merge_usage(usages)])}


def _head(context: ServerContext, identifier: str) -> dict[str, Any]:
    return {
        "id": identifier,
        "object": "text_completion",
        "created": now(),
        "model": context.name,
        "system_fingerprint": context.fingerprint,
    }


def _echo(item: Generate, context: ServerContext) -> str:
    if not item.echo or item.prompt is None:
        return ""
    return item.prompt if isinstance(item.prompt, str) else context.decode(item.prompt)


def _logprobs(entries: list[TokenLogprob], item: Generate) -> dict[str, Any] | None:
    if item.sampling.logprobs is None:
        return None
    return {
        "tokens": [e.text.decode("utf-8", "replace") for e in entries],
        "token_logprobs": [e.logprob for e in entries],
        "top_logprobs": [
            {text.decode("utf-8", "replace"): value for _, text, value in e.top} for e in entries
        ],
        "text_offset": _offsets(entries),
    }


def _offsets(entries: list[TokenLogprob]) -> list[int]:
    offsets: list[int] = []
    position = 0
    for entry in entries:
        offsets.append(position)
        position += len(entry.text.decode("utf-8", "replace"))
    return offsets
