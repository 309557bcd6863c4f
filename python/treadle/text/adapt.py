"""Conversations with tools for templates that know none: everything becomes plain turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from treadle.text.arguments import called_function
from treadle.types import Message, Tool

if TYPE_CHECKING:
    from treadle.text.formats import ToolFormat


def adapt(
    form: ToolFormat, messages: Sequence[Message], tools: Sequence[Tool], system: bool
) -> list[Message]:
    """See `ToolFormat.adapt`. Raises InvalidRequest for a call without name or JSON arguments."""
    preface = [text for text in [form.system_text(tools)] if text]
    turns: list[Message] = []
    for index, message in enumerate(messages):
        content = message.content or ""
        if message.role in ("system", "developer") and not turns:
            preface.append(content)
        elif message.role == "tool":
            _join(turns, Message("user", form.result.replace("{result}", content)))
        elif message.tool_calls:
            calls = form.render_calls(_calls(message, f"messages[{index}].tool_calls"))
            text = f"{content}\n{calls}" if content else calls
            turns.append(Message("assistant", text))
        else:
            _join(turns, message)
    text = "\n\n".join(preface)
    if not text:
        return turns
    if system:
        return [Message("system", text), *turns]
    if turns and turns[0].role == "user":
        return [replace(turns[0], content=f"{text}\n\n{turns[0].content or ''}"), *turns[1:]]
    return [Message("user", text), *turns]


def _join(turns: list[Message], message: Message) -> None:
    """Appends a turn. User turns in a row become one: many templates want turns to alternate."""
    if turns and turns[-1].role == message.role == "user":
        both = f"{turns[-1].content or ''}\n\n{message.content or ''}"
        turns[-1] = replace(turns[-1], content=both)
    else:
        turns.append(message)


def _calls(message: Message, at: str) -> list[tuple[str, dict[str, Any]]]:
    return [called_function(call, f"{at}[{i}]") for i, call in enumerate(message.tool_calls)]
