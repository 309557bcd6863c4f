"""Structural tags for tool calls: what output may look like, as data the grammar core lowers.

Source of the tag language: XGrammar's structural tags (arXiv 2411.15100 and its documentation).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from treadle.errors import InvalidRequest
from treadle.text.slot_tags import slot_tags
from treadle.types import Tool

if TYPE_CHECKING:
    from treadle.text.formats import CallForm, Reasoning, ToolFormat

ToolChoice = Literal["none", "auto", "required"] | tuple[Literal["named"], str]
Thinking = Literal["auto", "enabled", "disabled"]
Format = dict[str, Any]


def call_tag(
    family: ToolFormat,
    tools: Sequence[Tool],
    choice: ToolChoice,
    parallel: bool,
    thinking: Thinking,
    exclude: bool,
) -> Format | None:
    """The tag of `ToolFormat.tag`."""
    if choice == "none" or not tools:
        return None
    form = family.call
    single = not parallel or form.many == "once"
    if isinstance(choice, tuple):
        tools = [tool for tool in tools if tool.name == choice[1]]
        single = True
        if not tools:
            raise InvalidRequest(f"no tool is called {choice[1]!r}", at="tool_choice")
    reasoning = family.reasoning if thinking != "disabled" else None
    excludes = list(family.excludes) if exclude else []
    if family.layout == "channels":
        format_ = _channels(family, tools, choice == "auto", single, reasoning)
        return {"type": "structural_tag", "format": format_}
    if family.layout == "blocks":
        format_ = _blocks(family, tools, choice == "auto", single, excludes)
    elif choice == "auto":
        format_ = _free(form, tools, single, excludes)
    else:
        format_ = _calls_only(form, tools, single)
    if reasoning is not None:
        format_ = _sequence([_thought(reasoning, thinking == "enabled", excludes), format_])
    return {"type": "structural_tag", "format": format_}


def arguments_schema(tool: Tool) -> dict[str, Any]:
    """The schema of a call's arguments, always an object. Without parameters there are none."""
    if not tool.parameters:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    schema = dict(tool.parameters)
    if "type" not in schema:
        schema = {"type": "object", **schema}
    return schema


def _free(form: CallForm, tools: Sequence[Tool], single: bool, excludes: list[str]) -> Format:
    """Free text, and calls where their trigger appears."""
    array = form.many == "array"
    if form.wrapper_begin:
        tags = [_wrapped(form, tools, single)]
    else:
        tags = [_array(form, tools, single)] if array else _tags(form, tools)
    triggers = list(form.triggers)
    if form.lead:
        tags += [{**tag, "begin": form.lead + tag["begin"]} for tag in tags]
    tagged: Format = {
        "type": "triggered_tags",
        "triggers": triggers,
        "tags": tags,
        "at_least_one": False,
        "stop_after_first": array or single,
    }
    return {**tagged, "excludes": excludes} if excludes else tagged


def _calls_only(form: CallForm, tools: Sequence[Tool], single: bool) -> Format:
    """One call or more and nothing else."""
    if form.wrapper_begin:
        return _wrapped(form, tools, single)
    if form.many == "array":
        return _array(form, tools, single)
    tags = _tags(form, tools)
    if single:
        return _one_of(tags)
    return _separated(tags, form.separator, stop_after_first=False)


def _blocks(
    family: ToolFormat, tools: Sequence[Tool], auto: bool, single: bool, excludes: list[str]
) -> Format:
    """A text block, the calls, the closing mark. The prompt may have opened the text block."""
    opening, *ends = family.text
    text = {"type": "any_text", "excludes": excludes}
    block = _one_of(
        [{"type": "tag", "begin": begin, "content": text, "end": ends} for begin in (opening, "")]
    )
    calls = _calls_only(family.call, tools, single)
    if auto:
        calls = {"type": "optional", "content": calls}
    else:
        block = {"type": "optional", "content": block}
    return _sequence([block, calls, {"type": "const_string", "value": family.closing}])


def _channels(
    family: ToolFormat,
    tools: Sequence[Tool],
    auto: bool,
    single: bool,
    reasoning: Reasoning | None,
) -> Format:
    """Messages joined by a mark: reasoning and text in any order, calls at the end."""
    calls = _tags(family.call, tools)
    opening, *ends = family.text
    plain: list[Format] = []
    if reasoning is not None:
        plain.append(_mark(reasoning.begin, {"type": "any_text"}, [reasoning.end]))
    if auto:
        plain.append(_mark(opening, {"type": "any_text"}, ends))
    before: list[Format] = []
    if plain:
        joint: Format = {"type": "const_string", "value": family.joint}
        before = [{"type": "star", "content": _sequence([_one_of(plain), joint])}]
    called = _sequence([*before, _separated(calls, family.joint, single)])
    if not auto:
        return called
    return _one_of([_separated(plain, family.joint, stop_after_first=False), called])


def _wrapped(form: CallForm, tools: Sequence[Tool], single: bool) -> Format:
    calls = _separated(_tags(form, tools), form.separator, single)
    return _mark(form.wrapper_begin, calls, [form.wrapper_end])


def _array(form: CallForm, tools: Sequence[Tool], single: bool) -> Format:
    bodies = [_mark(form.head(t.name), _body(form, t), [form.tail]) for t in tools]
    return _mark(form.begin, _separated(bodies, form.separator, single), [form.end])


def _mark(begin: str, content: Format, ends: list[str]) -> Format:
    end = ends[0] if len(ends) == 1 else ends
    return {"type": "tag", "begin": begin, "content": content, "end": end}


def _separated(tags: list[Format], separator: str, stop_after_first: bool) -> Format:
    return {
        "type": "tags_with_separator",
        "tags": tags,
        "separator": separator,
        "at_least_one": True,
        "stop_after_first": stop_after_first,
    }


def _tags(form: CallForm, tools: Sequence[Tool]) -> list[Format]:
    if form.body == "slots":
        return [tag for tool in tools for tag in slot_tags(form, tool.name, arguments_schema(tool))]
    return [
        _mark(form.begin + form.head(tool.name), _body(form, tool), [form.tail + form.end])
        for tool in tools
    ]


def _body(form: CallForm, tool: Tool) -> Format:
    schema = {"type": "json_schema", "json_schema": arguments_schema(tool)}
    if not form.after:
        return schema
    extra = {"type": "optional", "content": {"type": "regex", "pattern": form.after}}
    return _sequence([schema, extra])


def _thought(reasoning: Reasoning, needed: bool, excludes: list[str]) -> Format:
    """Reasoning before anything else; calls mentioned in it are text."""
    text: Format = {"type": "any_text"}
    begins = [reasoning.begin, ""] if reasoning.opened else [reasoning.begin]
    if reasoning.opened and excludes:
        text["excludes"] = excludes  # else the begin would be text as well
    thought = _one_of([_mark(begin, text, [reasoning.end]) for begin in begins])
    gap = {"type": "regex", "pattern": reasoning.gap}
    whole = _sequence([thought, gap])
    return whole if needed else {"type": "optional", "content": whole}


def _one_of(formats: list[Format]) -> Format:
    return formats[0] if len(formats) == 1 else {"type": "or", "elements": formats}


def _sequence(elements: list[Format]) -> Format:
    return {"type": "sequence", "elements": elements}
