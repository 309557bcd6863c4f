"""Request bodies to `Generate`: what the wire says, in the engine's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import msgspec

from treadle.errors import InvalidRequest, NotFound, Unsupported
from treadle.server.wire import (
    ChatBody,
    CompletionBody,
    JsonObjectFormat,
    JsonSchemaFormat,
    MessageBody,
    NamedChoice,
    ResponseFormat,
    SamplingBody,
    StructuredOutputs,
    TextPart,
    ToolBody,
)
from treadle.types import Constraint, Generate, Message, Sampling, Tool

_SHARED = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logit_bias",
    "max_tokens",
    "min_tokens",
    "ignore_eos",
    "stop_token_ids",
    "n",
    "seed",
)
_MAX_PROMPTS = 128
ToolChoice = Literal["none", "auto", "required"] | tuple[Literal["named"], str]


def chat_request(body: ChatBody) -> Generate:
    """A chat body as a request. Raises InvalidRequest for combinations that mean nothing."""
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequest(
            "needs logprobs to be true", at="/top_logprobs", hint="set logprobs: true"
        )
    extra: dict[str, Any] = {}
    if body.max_completion_tokens is not None:
        if body.max_tokens not in (None, body.max_completion_tokens):
            raise InvalidRequest(
                "differs from max_tokens", at="/max_completion_tokens", hint="send one of the two"
            )
        extra["max_tokens"] = body.max_completion_tokens
    if body.logprobs:
        extra["logprobs"] = body.top_logprobs or 0
    choice, tools = _tool_choice(body)
    constraint = _constraint(body.response_format, body.structured_outputs)
    if constraint and tools and choice != "none":
        raise InvalidRequest(
            "cannot be combined with tools",
            at="/response_format" if body.response_format else "/structured_outputs",
            hint='drop one of the two, or send tool_choice: "none"',
        )
    return Generate(
        messages=tuple(message(m, f"/messages/{i}") for i, m in enumerate(body.messages)),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls,
        constraint=constraint,
        sampling=_sampling(body, extra),
        template_options=body.chat_template_kwargs or {},
    )


def completion_requests(body: CompletionBody) -> list[Generate]:
    """A completion body as one request a prompt."""
    extra: dict[str, Any] = {} if body.logprobs is None else {"logprobs": body.logprobs}
    sampling = _sampling(body, extra)
    constraint = _constraint(body.response_format, body.structured_outputs)
    return [
        Generate(prompt=prompt, constraint=constraint, sampling=sampling, echo=body.echo)
        for prompt in _prompts(body.prompt)
    ]


def message(body: MessageBody, at: str) -> Message:
    """One turn. Only text parts can be read; other parts are Unsupported by name."""
    content = body.content
    if isinstance(content, list):
        for index, part in enumerate(content):
            if not isinstance(part, TextPart):
                raise Unsupported(
                    "this model reads text only",
                    at=f"{at}/content/{index}/type",
                    hint='send parts of type "text"',
                )
        content = "".join(part.text for part in content if isinstance(part, TextPart))
    if content is None and not body.tool_calls and body.role != "assistant":
        raise InvalidRequest("required field is missing", at=f"{at}/content", hint="add it")
    if body.role == "tool" and body.tool_call_id is None:
        raise InvalidRequest(
            "a tool message answers a call",
            at=f"{at}/tool_call_id",
            hint="send the id of the call",
        )
    if body.tool_calls and body.role != "assistant":
        raise InvalidRequest(
            "only assistant turns make calls", at=f"{at}/tool_calls", hint="remove it"
        )
    calls = tuple(msgspec.to_builtins(call) for call in body.tool_calls or ())
    return Message(body.role, content, body.name, calls, body.tool_call_id)


def check_model(asked: str | None, served: Sequence[str]) -> None:
    """Raises NotFound when a request names a model that is not served here."""
    if asked is not None and asked not in served:
        raise NotFound(
            f'no model "{asked}" is served here', at="/model", hint=f"use one of {list(served)}"
        )


def _sampling(body: SamplingBody, extra: Mapping[str, Any]) -> Sampling:
    given = {name: getattr(body, name) for name in _SHARED}
    fields = {k: v for k, v in given.items() if v is not None}
    if body.stop is not None:
        fields["stop"] = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop)
    return Sampling(**{**fields, **extra})


def _prompts(prompt: str | list[Any]) -> list[str | tuple[int, ...]]:
    """One text or id list a prompt; a list of integers is one prompt."""
    if isinstance(prompt, str):
        return [prompt]
    if all(isinstance(entry, int) for entry in prompt):
        return [_ids(prompt, "/prompt")]
    if len(prompt) > _MAX_PROMPTS:
        raise InvalidRequest(f"{len(prompt)} prompts, at most {_MAX_PROMPTS}", at="/prompt")
    found: list[str | tuple[int, ...]] = []
    for index, entry in enumerate(prompt):
        at = f"/prompt/{index}"
        if isinstance(entry, list):
            found.append(_ids(cast("list[Any]", entry), at))
        elif isinstance(entry, str):
            found.append(entry)
        else:
            raise InvalidRequest("expected a text or a list of token ids", at=at)
    return found


def _ids(values: list[Any], at: str) -> tuple[int, ...]:
    for index, value in enumerate(values):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 31:
            raise InvalidRequest(f"{value!r} is no token id", at=f"{at}/{index}")
    if not values:
        raise InvalidRequest("an empty prompt", at=at, hint="send at least one token")
    return tuple(values)


def _tool_choice(body: ChatBody) -> tuple[ToolChoice, tuple[Tool, ...]]:
    tools = tuple(_tool(tool) for tool in body.tools or ())
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        if tool.name in seen:
            raise InvalidRequest(
                f'"{tool.name}" is declared twice', at=f"/tools/{index}/function/name"
            )
        seen.add(tool.name)
    choice = body.tool_choice
    if choice is None:
        return ("auto" if tools else "none"), tools
    if not tools and choice != "none":
        raise InvalidRequest("there are no tools to choose from", at="/tool_choice")
    if isinstance(choice, NamedChoice):
        if choice.function.name not in seen:
            raise InvalidRequest(
                f'no tool is called "{choice.function.name}"',
                at="/tool_choice/function/name",
                hint=f"use one of {sorted(seen)}",
            )
        return ("named", choice.function.name), tools
    return choice, tools


def _tool(body: ToolBody) -> Tool:
    function = body.function
    return Tool(
        function.name,
        function.description or "",
        function.parameters if function.parameters is not None else {"type": "object"},
    )


def _constraint(
    wanted: ResponseFormat | None, structured: StructuredOutputs | None
) -> Constraint | None:
    constraints: list[Constraint] = []
    if isinstance(wanted, JsonObjectFormat):
        constraints.append(Constraint("json_object", at="/response_format"))
    elif isinstance(wanted, JsonSchemaFormat):
        at = "/response_format/json_schema/schema"
        constraints.append(Constraint("json_schema", wanted.json_schema.schema, at))
    if structured is not None:
        constraints += _structured(structured)
        if not constraints:
            raise InvalidRequest("holds no constraint", at="/structured_outputs")
    if len(constraints) > 1:
        first, second = constraints[:2]
        raise InvalidRequest(
            f"two constraints, {first.at} and {second.at}", at=second.at, hint="send one"
        )
    return constraints[0] if constraints else None


def _structured(body: StructuredOutputs) -> list[Constraint]:
    kinds = {
        "json": "json_schema",
        "json_object": "json_object",
        "regex": "regex",
        "choice": "choice",
        "grammar": "grammar",
    }
    found: list[Constraint] = []
    for field, kind in kinds.items():
        value = getattr(body, field)
        if value is not None:
            value = None if field == "json_object" else value
            found.append(Constraint(kind, value, f"/structured_outputs/{field}"))  # pyright: ignore[reportArgumentType]
    return found
