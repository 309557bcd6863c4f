"""Tool formats: how a model family writes a call. One TOML file a family, no code a family."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from treadle.text.adapt import adapt
from treadle.text.reader import CallReader
from treadle.text.styles import Allowed, allowed_by, styles
from treadle.text.tags import Thinking, ToolChoice, call_tag
from treadle.types import Message, Tool

_CONTROL = re.compile(r"<[^<>\s]+>")  # what control tokens look like


@dataclass(frozen=True, slots=True)
class CallForm:
    """The text around one call.

    `trigger` is what free text may not contain without being a call. A call is `lead`? + begin +
    body + end. Body `json` is an object with the keys `name` and `args` (and a last member that
    matches `after`, optional); body `name` is the bare name, `middle`, the arguments.
    Body `slots` is for a begin that holds the name as `{name}` and perhaps a number as `{index}`;
    `also` lists other begins, and the arguments are written in `style`. `wrapper_begin` and
    `wrapper_end` stand once around all calls.
    `many`: "repeat" = begin … end for every call, `separator` between; "array" = begin and end
    once, `separator` between the bodies; "once" = one call a message.
    """

    trigger: str
    begin: str
    end: str
    body: Literal["json", "name", "slots"]
    many: Literal["repeat", "array", "once"]
    name: str = "name"
    args: str = "arguments"
    middle: str = ""
    lead: str = ""
    after: str = ""
    separator: str = ""
    style: str = "json"
    also: tuple[str, ...] = ()
    wrapper_begin: str = ""
    wrapper_end: str = ""

    @property
    def begins(self) -> tuple[str, ...]:
        """Every begin of a call."""
        return (self.begin, *self.also)

    @property
    def triggers(self) -> tuple[str, ...]:
        """What tells that a call begins, in plain text."""
        if self.also and not self.wrapper_begin:
            return tuple(dict.fromkeys(begin.split("{", 1)[0] for begin in self.begins))
        return tuple(mark for mark in (self.trigger, self.lead) if mark)

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
    """The marks around a model's reasoning.

    `gap` (a regex) may follow the end. `opened`: the prompt may end with `begin` already, so the
    output may start inside.
    """

    begin: str
    end: str
    gap: str = r"\n{0,2}"
    opened: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """Which models a format is for: all of `template_has` in the template, or the family."""

    template_has: tuple[str, ...] = ()
    families: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """One family's way of calling tools.

    `options` are the names `chat_template_kwargs` may hold; `result` frames a tool's answer and
    `system` describes the tools, both for templates that know no tools. `aliases` are other names
    of the format, `excludes` what free text leaves out. `layout`: "free" = text with calls in it;
    "blocks" = a text block, then perhaps calls, then `closing`; "channels" = a stream of messages,
    each a call or a block, joined by `joint`. `text` are the begin and ends of a text block.
    """

    name: str
    order: int
    match: Match
    call: CallForm
    result: str
    system: str | None = None
    reasoning: Reasoning | None = None
    options: tuple[str, ...] = field(default=())
    aliases: tuple[str, ...] = field(default=())
    excludes: tuple[str, ...] = field(default=())
    layout: Literal["free", "blocks", "channels"] = "free"
    text: tuple[str, ...] = field(default=())
    closing: str = ""
    joint: str = ""

    @property
    def silent(self) -> tuple[str, ...]:
        """Marks around plain text that are not part of it."""
        return tuple(mark for mark in (*self.text, self.closing, self.joint) if mark)

    @property
    def markers(self) -> tuple[str, ...]:
        """Texts that may be control tokens and that the reader must see all the same."""
        form = self.call
        # Begins and ends may be several control tokens with text between them.
        frames = (*form.begins, form.end, form.wrapper_begin, form.wrapper_end, *self.silent)
        marks = (form.trigger, form.middle, form.lead, *frames)
        if form.body == "slots":
            marks += tuple(part for mark in frames for part in _CONTROL.findall(mark))
        reasoning = self.reasoning
        more = (reasoning.begin, reasoning.end) if reasoning else ()
        return tuple(dict.fromkeys(mark for mark in (*marks, *more) if mark))

    def data(self) -> dict[str, Any]:
        """The format as plain data, for a web bundle: what chose it is left out, and the row of its
        argument style stands in it."""
        found = asdict(self)
        for name in ("order", "match", "aliases"):
            del found[name]
        style = styles().get(self.call.style)
        found["call"]["row"] = asdict(style) if style else None
        return found

    def tag(
        self,
        tools: Sequence[Tool],
        choice: ToolChoice = "auto",
        parallel: bool = True,
        thinking: Thinking = "auto",
        exclude: bool = True,
    ) -> dict[str, Any] | None:
        """The structural tag that output with these tools matches; None = no constraint.

        auto: free text until a call begins. required: one call or more, nothing else. named:
        exactly one call of that tool. `parallel=False`: at most one call. `thinking`: whether the
        output begins with reasoning, has none, or may. `exclude=False` lifts `excludes`.
        Raises InvalidRequest when the named tool is not among `tools`.
        """
        return call_tag(self, tools, choice, parallel, thinking, exclude)

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
        if form.body == "slots":
            parts = [_framed(form, i, name, args) for i, (name, args) in enumerate(calls)]
            return form.wrapper_begin + form.separator.join(parts) + form.wrapper_end
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

    def reader(self, split_reasoning: bool = False, tools: Sequence[Tool] = ()) -> CallReader:
        """A reader of one choice's output. Styles that write a string like any other value need
        the tools to tell them apart; without them, what reads as JSON is taken as JSON.
        """
        parameters = {tool.name: tool.parameters for tool in tools}

        def allowed(name: str, key: str) -> Allowed:
            return allowed_by(parameters.get(name) or {}, key)

        return CallReader(self.call, self.reasoning, split_reasoning, self.silent, allowed)


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


def format_named(name: str) -> ToolFormat:
    """The format with this name or alias. Raises KeyError."""
    for entry in tool_formats().values():
        if name == entry.name or name in entry.aliases:
            return entry
    raise KeyError(name)


@cache
def tool_formats() -> dict[str, ToolFormat]:
    """Every format that comes with treadle, by name."""
    found: dict[str, ToolFormat] = {}
    for file in Path(__file__).with_name("formats").glob("*.toml"):
        entry = parse_format(file.read_text("utf-8"))
        found[entry.name] = entry
    return found


def parse_format(text: str) -> ToolFormat:
    """A format file. Raises ValueError naming an unknown or missing key."""
    data = tomllib.loads(text)
    call = CallForm(**_tuples(_known(CallForm, data.pop("call", {}))))
    if call.style != "json" and call.style not in styles():
        raise ValueError(f"CallForm: unknown style {call.style!r}")
    match = Match(**{k: tuple(v) for k, v in _known(Match, data.pop("match", {})).items()})
    reasoning = data.pop("reasoning", None)
    known = _tuples(_known(ToolFormat, {**data, "match": match, "call": call}))
    entry = ToolFormat(**known)
    if reasoning is not None:
        entry = replace(entry, reasoning=Reasoning(**_known(Reasoning, reasoning)))
    return entry


def _known(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    unknown = values.keys() - {part.name for part in fields(kind)}
    if unknown:
        raise ValueError(f"{kind.__name__}: unknown keys {sorted(unknown)}")
    return values


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(cast("list[Any]", v)) if isinstance(v, list) else v for k, v in values.items()}


def _framed(form: CallForm, index: int, name: str, arguments: Mapping[str, Any]) -> str:
    begin = form.begin.replace("{index}", str(index)).replace("{name}", name)
    if form.style == "json":
        return begin + json.dumps(dict(arguments), ensure_ascii=False) + form.end
    return begin + styles()[form.style].write(arguments) + form.end


def _one_line(tool: Tool) -> str:
    described = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    return json.dumps(described, ensure_ascii=False)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
