"""Chat templates: messages and tools to a prompt, by the template that came with the model.

A template is a program from a model file. It runs in minijinja with fuel, an output cap and no
access to Python; what it sees are strings, numbers, lists and dicts. The environment is the one
Hugging Face templates are written for (transformers, `chat_template_utils.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, cast

import minijinja

from treadle.errors import InvalidRequest, LimitExceeded, TreadleError, Unsupported
from treadle.limits import Limits
from treadle.text.arguments import called_function
from treadle.text.template import TemplateRefusal, environment
from treadle.types import Message, Tool

_RESERVED = frozenset(
    ("messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token")
)
_PROBE = "treadle_probe"


class ChatTemplate:
    """A compiled chat template. Immutable and safe to share between threads.

    `clock` is what `strftime_now` reads (local time, as transformers has it).
    Raises LimitExceeded for a template that is too long, Unsupported when it does not compile.
    """

    def __init__(
        self,
        source: str,
        bos_token: str = "",
        eos_token: str = "",
        limits: Limits | None = None,
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        self.source = source
        self._limits = limits or Limits()
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        size = len(source.encode("utf-8", "replace"))
        if size > self._limits.template_bytes:
            raise LimitExceeded(
                "template_bytes", size, self._limits.template_bytes, at="chat_template"
            )
        self._environment, self._meter = environment(self._limits, clock)
        try:
            self._environment.add_template("chat_template", _portable(source))
        except minijinja.TemplateError as error:
            raise Unsupported(
                f"the template does not compile: {error.message}",
                at=_place(error),
                hint="give another with --chat-template",
            ) from None

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        add_generation_prompt: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt text. `options` are further template variables (`enable_thinking`, …).

        Raises InvalidRequest with the template's own message where it refuses the conversation,
        LimitExceeded when it spends its fuel or its output cap.
        """
        options = options or {}
        for name in options:
            if name in _RESERVED:
                raise InvalidRequest("is set by the server", at=f"chat_template_kwargs.{name}")
        developer = "developer" in self.source
        context: dict[str, Any] = {
            **self._tokens,
            **options,
            "messages": [_message(m, i, developer) for i, m in enumerate(messages)],
            "tools": [tool_dict(tool) for tool in tools] or None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        return self._run(context)

    @cached_property
    def supports_tools(self) -> bool:
        """Whether the name of a tool that is offered shows up in the prompt."""
        probe = Tool(_PROBE, "probe", {"type": "object", "properties": {}})
        return self._shows([Message("user", "hello")], (probe,)) or self._shows(
            [Message("system", "hello"), Message("user", "hello")], (probe,)
        )

    @cached_property
    def supports_system(self) -> bool:
        """Whether the text of a system message shows up in the prompt."""
        return self._shows([Message("system", _PROBE), Message("user", "hello")], ())

    def _shows(self, messages: Sequence[Message], tools: Sequence[Tool]) -> bool:
        try:
            return _PROBE in self.render(messages, tools)
        except TreadleError:
            return False

    def _run(self, context: dict[str, Any]) -> str:
        maximum = self._limits.template_output_bytes
        self._meter.start(maximum)
        try:
            text = self._environment.render_template("chat_template", **context)
        except TemplateRefusal as refusal:
            raise InvalidRequest(
                f"the model's chat template refuses this conversation: {refusal}", at="messages"
            ) from None
        except minijinja.TemplateError as error:
            raise self._translate(error) from None
        except (RecursionError, UnicodeEncodeError, ValueError, TypeError) as error:
            raise InvalidRequest(
                f"the model's chat template fails on this conversation: {error}", at="messages"
            ) from None
        size = len(text.encode("utf-8", "replace"))
        if size > maximum:
            raise LimitExceeded("template_output_bytes", size, maximum, at="messages")
        return text

    def _translate(self, error: minijinja.TemplateError) -> TreadleError:
        if error.kind == "OutOfFuel":
            fuel = self._limits.template_fuel
            return LimitExceeded(
                "template_fuel", fuel + 1, fuel, at=_place(error), hint="send fewer messages"
            )
        return InvalidRequest(
            f"the model's chat template fails on this conversation: {error.message}",
            at=_place(error),
        )


def tool_dict(tool: Tool) -> dict[str, Any]:
    """A tool as templates know it (and as OpenAI sends it)."""
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": _plain(tool.parameters),
    }
    return {"type": "function", "function": function}


def _message(message: Message, index: int, developer: bool) -> dict[str, Any]:
    role = message.role
    if role == "developer" and not developer:
        role = "system"  # only templates that name the developer role know it
    found: dict[str, Any] = {"role": role, "content": message.content or ""}
    if message.name is not None:
        found["name"] = message.name
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        at = f"messages[{index}].tool_calls"
        found["tool_calls"] = [
            _tool_call(call, f"{at}[{i}]") for i, call in enumerate(message.tool_calls)
        ]
    return found


def _tool_call(call: Mapping[str, Any], at: str) -> dict[str, Any]:
    """A call with its arguments as an object: templates print them with `tojson`."""
    name, arguments = called_function(call, at)
    found: dict[str, Any] = _plain(call)
    found["function"] = {**found["function"], "name": name, "arguments": arguments}
    return found


def _plain(value: Any) -> Any:
    """Mappings and sequences as dicts and lists, copied: templates get nothing of ours to hold."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in cast(Mapping[object, object], value).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in cast(Sequence[object], value)]
    return value


def _place(error: minijinja.TemplateError) -> str:
    return f"chat_template:{error.line}" if error.line is not None else "chat_template"


# {% generation %} only marks spans for training; a plain block prints the same text.
_GENERATION = re.compile(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}")


def _portable(source: str) -> str:
    return _GENERATION.sub(
        lambda m: "{%" + m[1] + (" endif " if m[2] else " if true ") + m[3] + "%}", source
    )
