"""Families of models, by xgrammar's names, over the tool formats of treadle.text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from treadle.compat.xgrammar.exception import RefusedError
from treadle.compat.xgrammar.structural_tag import StructuralTag
from treadle.errors import Unsupported
from treadle.text.formats import ToolFormat, tool_formats
from treadle.text.tags import call_tag
from treadle.types import Tool

if TYPE_CHECKING:
    from treadle.compat.xgrammar.openai_tool_call_schema import (
        BuiltinToolParam,
        FunctionToolParam,
    )

ReasoningMode = Literal["enabled", "disabled", "auto"]
Json = dict[str, Any]

KEYS = (
    "llama",
    "kimi",
    "kimi_k3",
    "deepseek_r1",
    "deepseek_v3_1",
    "deepseek_v3_2",
    "deepseek_v4",
    "deepseek_v4_1",
    "qwen_3",
    "qwen_3_5",
    "qwen_3_coder",
    "mimo",
    "harmony",
    "minimax",
    "minimax_m3",
    "glm_4_7",
    "cohere",
    "exaone",
)


@dataclass(frozen=True, slots=True)
class Request:
    """What a family's function was asked for."""

    functions: tuple[FunctionToolParam, ...]
    builtins: tuple[BuiltinToolParam, ...]
    choice: Literal["auto", "required", "forced"]
    reasoning: ReasoningMode
    any_order: bool
    exclude_special_tokens: bool
    max_whitespace: int | None
    parallel: bool


def family_tag(key: str, request: Request) -> StructuralTag:
    """The tag of a request. Raises RefusedError for a family that has no tool format here."""
    known = tool_formats()
    form = next((f for f in known.values() if key == f.name or key in f.aliases), None)
    if form is None:
        raise RefusedError(
            Unsupported(f"no tool format {key!r} is installed", at="model", hint=f"{[*known]}")
        )
    content = _answer(form, request)
    thought = _thought(form, request)
    if thought is not None:
        content = {"type": "sequence", "elements": [thought, content]}
    return StructuralTag.model_validate({"type": "structural_tag", "format": content})


def _answer(form: ToolFormat, request: Request) -> Json:
    """Free text and calls, without reasoning."""
    tools = [
        _tool(t.function.name, _open(t), t.function.description or "") for t in request.functions
    ]
    tools += [_tool(t.name or t.type, t.parameters, "") for t in request.builtins]
    if not tools:
        return {"type": "any_text", "excludes": _marks(form, request)}
    choice: Any = "auto" if request.choice == "auto" else "required"
    single = request.choice == "forced" or not request.parallel
    # Only messages in channels hold reasoning anywhere; else _thought() puts it first.
    thinking = request.reasoning if form.layout == "channels" else "disabled"
    exclude = request.exclude_special_tokens
    tag = call_tag(form, tools, choice, not single, thinking, exclude)
    assert tag is not None  # there are tools, and the choice is not none
    _fill_in(tag["format"], request, _marks(form, request))
    return tag["format"]


def _tool(name: str, parameters: Json | None, text: str) -> Tool:
    # Without a schema any arguments are allowed; treadle's Tool would take none at all.
    return Tool(name=name, description=text, parameters=parameters or {"type": "object"})


def _open(tool: FunctionToolParam) -> Json | None:
    return None if tool.function.strict is False else tool.function.parameters


def _marks(form: ToolFormat, request: Request) -> list[str]:
    """What free text must not spell."""
    if not request.exclude_special_tokens or form.reasoning is None:
        return []
    return [form.reasoning.begin, form.reasoning.end]


def _thought(form: ToolFormat, request: Request) -> Json | None:
    marks = form.reasoning
    if marks is None or request.reasoning == "disabled":
        return None
    if form.layout == "channels" and (request.functions or request.builtins):
        return None
    opened = request.reasoning == "enabled"
    inner = [marks.begin] if request.exclude_special_tokens else []
    tag: Json = {
        "type": "tag",
        "begin": "" if opened else marks.begin,
        "content": {"type": "any_text", "excludes": inner},
        "end": marks.end,
    }
    return tag if opened else {"type": "optional", "content": tag}


def _fill_in(node: Any, request: Request, marks: list[str]) -> None:
    """Writes the request's options into every format that has them. No recursion."""
    pending: list[Any] = [node]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending += cast("list[Any]", item)
        if not isinstance(item, dict):
            continue
        value = cast(Json, item)
        kind = value.get("type")
        if kind == "json_schema":
            value["any_order"] = request.any_order
            if request.max_whitespace is not None:
                value["max_whitespace_cnt"] = request.max_whitespace
            continue
        if kind == "triggered_tags" and marks:
            value["excludes"] = list(dict.fromkeys([*value.get("excludes", ()), *marks]))
        pending += value.values()
