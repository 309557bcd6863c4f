"""What callers ask for, before rendering, tokenising and compiling (`engine.intake` does those)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct, field

from treadle.types.sampling import Sampling

ConstraintKind = Literal["json_schema", "json_object", "regex", "grammar", "choice"]
Role = Literal["system", "developer", "user", "assistant", "tool"]


class Constraint(Struct, frozen=True):
    """What the output must match. `value`: schema (dict, bool or JSON text), regex, EBNF text,
    list of strings, or None for json_object. `at` prefixes the JSON pointers of errors."""

    kind: ConstraintKind
    value: Any = None
    at: str = ""


class Tool(Struct, frozen=True):
    """A function the model may call; `parameters` is a JSON Schema of its argument object."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Message(Struct, frozen=True):
    """One turn. `tool_calls` on assistant turns, `tool_call_id` and `name` on tool turns."""

    role: Role
    content: str | None = None
    name: str | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    tool_call_id: str | None = None


class Generate(Struct, frozen=True):
    """One request of any front end: either `prompt` (text or ids) or `messages`.

    tool_choice: "none", "auto", "required", or the name of one tool as ("named", name).
    """

    prompt: str | tuple[int, ...] | None = None
    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: Literal["none", "auto", "required"] | tuple[Literal["named"], str] = "auto"
    parallel_tool_calls: bool = True
    constraint: Constraint | None = None
    sampling: Sampling = field(default_factory=Sampling)
    template_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    echo: bool = False
