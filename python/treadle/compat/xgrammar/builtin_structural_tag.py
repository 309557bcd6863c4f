"""Structural tags of model families: reasoning and tool calls, over treadle.text's formats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import TypeAdapter

from treadle.compat.xgrammar._family import KEYS, ReasoningMode, Request, family_tag
from treadle.compat.xgrammar.openai_tool_call_schema import (
    AllowedToolChoiceParam,
    BuiltinToolChoiceParam,
    BuiltinToolParam,
    FunctionToolParam,
    NamedToolChoiceParam,
    ToolChoiceOptionParam,
    ToolParam,
)
from treadle.compat.xgrammar.structural_tag import Format, StructuralTag

SimplifiedToolChoice = Literal["auto", "required", "forced"]
BuiltinStructuralTagFn = Callable[..., StructuralTag]

__all__ = [
    "BuiltinStructuralTagFn",
    "Format",
    "SimplifiedToolChoice",
    "ToolChoiceOptionParam",
    "ToolParam",
    "get_builtin_structural_tag",
    "get_model_structural_tag",
    "normalize_tool_choice",
    "register_model_structural_tag",
]

_TOOL: TypeAdapter[Any] = TypeAdapter(ToolParam)
_CHOICE: TypeAdapter[Any] = TypeAdapter(ToolChoiceOptionParam)
_registry: dict[str, BuiltinStructuralTagFn] = {}


def get_model_structural_tag(
    model: str,
    tools: list[ToolParam | dict[str, Any]] | None = None,
    tool_choice: ToolChoiceOptionParam | dict[str, Any] | None = "auto",
    reasoning: bool | ReasoningMode = "enabled",
    force_reasoning: bool = False,
    any_order: bool = False,
    exclude_special_tokens: bool = True,
    max_whitespace_cnt: int | None = None,
    parallel_tool_calls: bool = True,
) -> StructuralTag:
    """What a model's answer may look like: reasoning, free text and calls of these tools.

    model: a registered family (llama, qwen_3, harmony, ...). tool_choice: auto, none, required, a
    function, a built-in tool, or allowed_tools, as in OpenAI's Chat Completions. reasoning:
    "enabled" goes on in a block that the prompt has opened, "disabled" has none, "auto" either.
    exclude_special_tokens: free text never spells the family's marks. Raises ValueError for a
    family, tool, choice or mode that does not exist.
    """
    make = _registry.get(model)
    if make is None:
        raise ValueError(f"no family {model!r}; one of {[*_registry]}")
    if isinstance(reasoning, bool):
        reasoning = "enabled" if reasoning else "disabled"
    if reasoning not in ("enabled", "disabled", "auto"):
        raise ValueError(f"reasoning: {reasoning!r} is no mode; enabled, disabled or auto")
    if not isinstance(parallel_tool_calls, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError("parallel_tool_calls must be a bool")
    functions, builtins, choice = normalize_tool_choice(tools, tool_choice)
    return make(
        functions,
        builtins,
        choice,
        reasoning,
        any_order=any_order,
        exclude_special_tokens=exclude_special_tokens,
        max_whitespace_cnt=max_whitespace_cnt,
        parallel_tool_calls=parallel_tool_calls,
    )


get_builtin_structural_tag = get_model_structural_tag


def normalize_tool_choice(
    tools: list[ToolParam | dict[str, Any]] | None = None,
    tool_choice: ToolChoiceOptionParam | dict[str, Any] | None = "auto",
) -> tuple[list[FunctionToolParam], list[BuiltinToolParam], SimplifiedToolChoice]:
    """The tools that a choice leaves, functions and built-in ones apart, and what is left of it.

    none = auto without tools; a single tool = forced. Raises ValueError when a tool that the
    choice names does not exist, or when a call is required and no tool is left.
    """
    if tools is None:
        tools = []
    if not isinstance(tools, list):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError("tools must be a list")
    read = [tool if isinstance(tool, ToolParam) else _TOOL.validate_python(tool) for tool in tools]
    functions = [tool for tool in read if isinstance(tool, FunctionToolParam)]
    builtins = [tool for tool in read if isinstance(tool, BuiltinToolParam)]
    choice = "auto" if tool_choice is None else _CHOICE.validate_python(tool_choice)
    simple: SimplifiedToolChoice = "forced"
    if choice == "none":
        return [], [], "auto"
    if isinstance(choice, AllowedToolChoiceParam):
        functions, builtins = _allowed(functions, builtins, choice)
        simple = choice.allowed_tools.mode
    elif isinstance(choice, NamedToolChoiceParam):
        name = choice.function.name
        functions = [tool for tool in functions if tool.function.name == name]
        builtins = []
        if not functions:
            raise ValueError(f"tool_choice: no function is called {name!r}")
    elif isinstance(choice, BuiltinToolChoiceParam):
        functions = []
        builtins = [tool for tool in builtins if tool.type == choice.type]
        if len(builtins) != 1:
            raise ValueError(
                f"tool_choice: {len(builtins)} built-in tools have type {choice.type!r}, not one"
            )
    else:
        simple = choice
    count = len(functions) + len(builtins)
    if simple == "required" and not count:
        raise ValueError("tool_choice: a call is required, but there is no tool")
    if simple == "forced" and count != 1:
        raise ValueError(f"tool_choice: a forced choice must leave one tool, {count} are left")
    return functions, builtins, simple


def _allowed(
    functions: list[FunctionToolParam],
    builtins: list[BuiltinToolParam],
    choice: AllowedToolChoiceParam,
) -> tuple[list[FunctionToolParam], list[BuiltinToolParam]]:
    names: set[str] = set()
    types: set[str] = set()
    for ref in choice.allowed_tools.tools:
        if ref.type != "function":
            types.add(ref.type)
        elif ref.function is None:
            raise ValueError("allowed_tools: a function's reference needs `function`")
        else:
            names.add(ref.function.name)
    missing = names - {tool.function.name for tool in functions}
    missing |= types - {tool.type for tool in builtins}
    if missing:
        raise ValueError(f"allowed_tools: no tools {sorted(missing)}")
    return (
        [tool for tool in functions if tool.function.name in names],
        [tool for tool in builtins if tool.type in types],
    )


def register_model_structural_tag(
    name: str,
) -> Callable[[BuiltinStructuralTagFn], BuiltinStructuralTagFn]:
    """Decorates a function that makes the tags of a family; a family of that name is replaced."""

    def register(make: BuiltinStructuralTagFn) -> BuiltinStructuralTagFn:
        _registry[name] = make
        return make

    return register


def _maker(key: str, usual: ReasoningMode) -> BuiltinStructuralTagFn:
    """The function of one family; all have one signature."""

    def make(
        tools: list[FunctionToolParam] | None = None,
        builtin_tools: list[BuiltinToolParam] | None = None,
        tool_choice: SimplifiedToolChoice = "auto",
        reasoning: ReasoningMode = usual,
        any_order: bool = False,
        exclude_special_tokens: bool = True,
        max_whitespace_cnt: int | None = None,
        parallel_tool_calls: bool = True,
        **kwargs: Any,
    ) -> StructuralTag:
        request = Request(
            functions=tuple(tools or ()),
            builtins=tuple(builtin_tools or ()),
            choice=tool_choice,
            reasoning=reasoning,
            any_order=any_order,
            exclude_special_tokens=exclude_special_tokens,
            max_whitespace=max_whitespace_cnt,
            parallel=parallel_tool_calls,
        )
        return family_tag(key, request)

    make.__name__ = make.__qualname__ = f"get_{key}_structural_tag"
    make.__doc__ = f"The tags of the family {key}; see `get_model_structural_tag`."
    return register_model_structural_tag(key)(make)


for _key in KEYS:
    globals()[f"get_{_key}_structural_tag"] = _maker(
        _key, "auto" if _key == "minimax_m3" else "enabled"
    )
