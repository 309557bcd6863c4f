"""Structural tags for tool calls: what output may look like, as data the grammar core lowers.

Source of the tag language: XGrammar's structural tags (arXiv 2411.15100 and its documentation).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from treadle.errors import InvalidRequest
from treadle.types import Tool

if TYPE_CHECKING:
    from treadle.text.formats import CallForm, Reasoning

ToolChoice = Literal["none", "auto", "required"] | tuple[Literal["named"], str]
Format = dict[str, Any]


def call_tag(
    form: CallForm,
    reasoning: Reasoning | None,
    tools: Sequence[Tool],
    choice: ToolChoice,
    parallel: bool,
) -> Format | None:
    """The tag of `ToolFormat.tag`."""
    if choice == "none" or not tools:
        return None
    single = not parallel or form.many == "once"
    if isinstance(choice, tuple):
        tools = [tool for tool in tools if tool.name == choice[1]]
        single = True
        if not tools:
            raise InvalidRequest(f"no tool is called {choice[1]!r}", at="tool_choice")
    shape = _free if choice == "auto" else _calls_only
    format_ = shape(form, tools, single)
    if reasoning is not None:
        format_ = _sequence([_thought(reasoning), format_])
    return {"type": "structural_tag", "format": format_}


def arguments_schema(tool: Tool) -> dict[str, Any]:
    """The schema of a call's arguments, always an object. Without parameters there are none."""
    if not tool.parameters:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    schema = dict(tool.parameters)
    if "type" not in schema:
        schema = {"type": "object", **schema}
    return schema


def _free(form: CallForm, tools: Sequence[Tool], single: bool) -> Format:
    """Free text, and calls where their trigger appears."""
    array = form.many == "array"
    tags = [_array(form, tools, single)] if array else _tags(form, tools)
    triggers = [form.trigger]
    if form.lead:
        triggers.append(form.lead)
        tags += [{**tag, "begin": form.lead + tag["begin"]} for tag in tags]
    return {
        "type": "triggered_tags",
        "triggers": triggers,
        "tags": tags,
        "at_least_one": False,
        "stop_after_first": array or single,
    }


def _calls_only(form: CallForm, tools: Sequence[Tool], single: bool) -> Format:
    """One call or more and nothing else."""
    if form.many == "array":
        return _array(form, tools, single)
    tags = _tags(form, tools)
    if single:
        return tags[0] if len(tags) == 1 else {"type": "or", "elements": tags}
    return _separated(tags, form.separator, stop_after_first=False)


def _array(form: CallForm, tools: Sequence[Tool], single: bool) -> Format:
    bodies = [
        {"type": "tag", "begin": form.head(t.name), "content": _body(form, t), "end": form.tail}
        for t in tools
    ]
    inner = _separated(bodies, form.separator, single)
    return {"type": "tag", "begin": form.begin, "content": inner, "end": form.end}


def _separated(tags: list[Format], separator: str, stop_after_first: bool) -> Format:
    return {
        "type": "tags_with_separator",
        "tags": tags,
        "separator": separator,
        "at_least_one": True,
        "stop_after_first": stop_after_first,
    }


def _tags(form: CallForm, tools: Sequence[Tool]) -> list[Format]:
    return [
        {
            "type": "tag",
            "begin": form.begin + form.head(tool.name),
            "content": _body(form, tool),
            "end": form.tail + form.end,
        }
        for tool in tools
    ]


def _body(form: CallForm, tool: Tool) -> Format:
    schema = {"type": "json_schema", "json_schema": arguments_schema(tool)}
    if not form.after:
        return schema
    extra = {"type": "optional", "content": {"type": "regex", "pattern": form.after}}
    return _sequence([schema, extra])


def _thought(reasoning: Reasoning) -> Format:
    """Reasoning before anything else, if the model wants it; calls mentioned in it are text."""
    thought = {
        "type": "tag",
        "begin": reasoning.begin,
        "content": {"type": "any_text"},
        "end": reasoning.end,
    }
    gap = {"type": "regex", "pattern": r"\n{0,2}"}
    return {"type": "optional", "content": _sequence([thought, gap])}


def _sequence(elements: list[Format]) -> Format:
    return {"type": "sequence", "elements": elements}
