"""Tool formats: how a model family writes a call. One TOML file a family, no code a family."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from treadle.text.adapt import adapt
from treadle.text.reader import CallReader
from treadle.text.tags import ToolChoice, call_tag
from treadle.types import Message, Tool


@dataclass(frozen=True, slots=True)
class CallForm:
    """The text around one call.

    `trigger` is what free text may not contain without being a call. A call is `lead`? + begin +
    body + end. Body `json` is an object with the keys `name` and `args` (and a last member that
    matches `after`, optional); body `name` is the bare name, `middle`, the arguments.
    `many`: "repeat" = begin … end for every call, `separator` between; "array" = begin and end
    once, `separator` between the bodies; "once" = one call a message.
    """

    trigger: str
    begin: str
    end: str
    body: Literal["json", "name"]
    many: Literal["repeat", "array", "once"]
    name: str = "name"
    args: str = "arguments"
    middle: str = ""
    lead: str = ""
    after: str = ""
    separator: str = ""

    def head(self, name: str) -> str:
        """What stands before the arguments, the outer begin left out."""
        if self.body == "name":
            return name + self.middle
        key, args = _quoted(self.name), _quoted(self.args)
        return f"{{{key}: {_quoted(name)}, {args}: "

    @property
    def tail(self) -> str:
        """What stands after the arguments, the outer end left out."""
        return "}" if self.body == "json" else ""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The marks around a model's reasoning."""

    begin: str
    end: str


@dataclass(frozen=True, slots=True)
class Match:
    """Which models a format is for: all of `template_has` in the template, or the family."""

    template_has: tuple[str, ...] = ()
    families: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """One family's way of calling tools.

    `options` are the names `chat_template_kwargs` may hold; `result` frames a tool's answer and
    `system` describes the tools, both for templates that know no tools.
    """

    name: str
    order: int
    match: Match
    call: CallForm
    result: str
    system: str | None = None
    reasoning: Reasoning | None = None
    options: tuple[str, ...] = field(default=())

    @property
    def markers(self) -> tuple[str, ...]:
        """Texts that may be control tokens and that the reader must see all the same."""
        form = self.call
        marks = (form.trigger, form.middle, form.lead)
        reasoning = self.reasoning
        more = (reasoning.begin, reasoning.end) if reasoning else ()
        return tuple(mark for mark in (*marks, *more) if mark)

    def tag(
        self, tools: Sequence[Tool], choice: ToolChoice = "auto", parallel: bool = True
    ) -> dict[str, Any] | None:
        """The structural tag that output with these tools matches; None = no constraint.

        auto: free text until a call begins. required: one call or more, nothing else. named:
        exactly one call of that tool. `parallel=False`: at most one call.
        Raises InvalidRequest when the named tool is not among `tools`.
        """
        return call_tag(self.call, self.reasoning, tools, choice, parallel)

    def system_text(self, tools: Sequence[Tool]) -> str | None:
        """The tools described in words, for templates without tool support."""
        if self.system is None or not tools:
            return None
        lines = "\n".join(_one_line(tool) for tool in tools)
        return self.system.strip("\n").replace("{tools}", lines)

    def render_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """One call as the model would write it."""
        return self.render_calls([(name, arguments)])

    def render_calls(self, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
        """The calls of one turn as the model would write them."""
        form = self.call
        bodies = [
            form.head(name) + json.dumps(dict(arguments), ensure_ascii=False) + form.tail
            for name, arguments in calls
        ]
        if form.many == "array":
            return form.begin + form.separator.join(bodies) + form.end
        return form.separator.join(form.begin + body + form.end for body in bodies)

    def adapt(
        self, messages: Sequence[Message], tools: Sequence[Tool], system: bool = True
    ) -> list[Message]:
        """The conversation in plain turns, for a template without tool support: the tools in the
        system text, calls and results written out. `system=False`: the template knows no system
        turn either, so that text opens the first user turn.
        """
        return adapt(self, messages, tools, system)

    def reader(self, split_reasoning: bool = False) -> CallReader:
        """A reader of one choice's output."""
        return CallReader(self.call, self.reasoning, split_reasoning)


def tool_format(template: str | None, family: str) -> ToolFormat:
    """The format of a model: by its chat template, else by its family, else the neutral one."""
    table = sorted(tool_formats().values(), key=lambda entry: entry.order)
    for entry in table:
        marks = entry.match.template_has
        if template and marks and all(mark in template for mark in marks):
            return entry
    for entry in table:
        if family in entry.match.families and entry.system is not None:
            return entry
    return tool_formats()["neutral"]


@cache
def tool_formats() -> dict[str, ToolFormat]:
    """Every format that comes with treadle, by name."""
    found: dict[str, ToolFormat] = {}
    for file in files("treadle.text").joinpath("formats").iterdir():
        if file.name.endswith(".toml"):
            entry = parse_format(file.read_text("utf-8"))
            found[entry.name] = entry
    return found


def parse_format(text: str) -> ToolFormat:
    """A format file. Raises ValueError naming an unknown or missing key."""
    data = tomllib.loads(text)
    call = CallForm(**_known(CallForm, data.pop("call", {})))
    match = Match(**{k: tuple(v) for k, v in _known(Match, data.pop("match", {})).items()})
    reasoning = data.pop("reasoning", None)
    options = tuple(data.pop("options", ()))
    entry = ToolFormat(**_known(ToolFormat, {**data, "match": match, "call": call}))
    if reasoning is not None:
        entry = replace(entry, reasoning=Reasoning(**_known(Reasoning, reasoning)))
    return replace(entry, options=options)


def _known(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    unknown = values.keys() - {part.name for part in fields(kind)}
    if unknown:
        raise ValueError(f"{kind.__name__}: unknown keys {sorted(unknown)}")
    return values


def _one_line(tool: Tool) -> str:
    described = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    return json.dumps(described, ensure_ascii=False)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
