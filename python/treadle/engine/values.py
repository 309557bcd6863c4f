"""What Python callers hand over, in the engine's words: schemas, tools, messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, cast, get_type_hints

import msgspec

from treadle.errors import InvalidRequest
from treadle.types import Constraint, Message, Tool

Decode = Callable[[str], Any]
_MESSAGE_FIELDS = {*Message.__struct_fields__}


def constraint_of(
    schema: Any = None,
    regex: str | None = None,
    grammar: str | None = None,
    choice: Sequence[str] | None = None,
) -> tuple[Constraint | None, Decode | None]:
    """The constraint of a call and what turns its text into a value (None: the text is it).

    `schema` is a JSON Schema (mapping, bool or JSON text), or a type: msgspec Struct, dataclass,
    TypedDict, builtin, or pydantic model. Raises InvalidRequest when more than one is given.
    """
    named = {"schema": schema, "regex": regex, "grammar": grammar, "choice": choice}
    given = [name for name, value in named.items() if value is not None]
    if len(given) > 1:
        raise InvalidRequest(f"{given[0]} and {given[1]} exclude each other", at=given[1])
    if regex is not None:
        return Constraint("regex", regex), None
    if grammar is not None:
        return Constraint("grammar", grammar), None
    if choice is not None:
        return Constraint("choice", list(choice)), None
    if schema is None:
        return None, None
    source, decode = schema_of(schema)
    return Constraint("json_schema", source), decode


def schema_of(schema: Any) -> tuple[Any, Decode]:
    """A JSON Schema and the decoder of its instances. See `constraint_of` for what is taken."""
    if isinstance(schema, Mapping):
        return dict(cast("Mapping[str, Any]", schema)), _plain
    if isinstance(schema, (bool, str)):
        return schema, _plain
    if isinstance(schema, type) and hasattr(schema, "model_json_schema"):
        model = cast("Any", schema)  # pydantic, told by its interface: it need not be installed
        return model.model_json_schema(), model.model_validate_json
    try:
        source = msgspec.json.schema(schema)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidRequest(
            f"{schema!r} has no JSON Schema ({error})",
            at="schema",
            hint="give a dict, a msgspec Struct, a dataclass, a TypedDict or a pydantic model",
        ) from None
    return source, lambda text: _convert(text, schema)


def _plain(text: str) -> Any:
    import json  # an answer to no schema is not read, and most are none

    return json.loads(text)


def _convert(text: str, kind: Any) -> Any:
    import json

    value = json.loads(text, parse_float=_number)
    return msgspec.convert(value, kind, str_keys=True)


def _number(text: str) -> int | float:
    """A JSON number with point or exponent. In JSON Schema 1.0 and 2e3 are integers, in Python
    they are not: whole numbers become int, which float fields take as well. The grammar allows
    three digits of exponent, so an int stays small."""
    number = Decimal(text)
    whole = number == number.to_integral_value()
    return int(number) if whole else float(text)


def tool_of(tool: Any) -> Tool:
    """A `Tool` from one, from OpenAI's JSON form, or from a function with typed parameters."""
    if isinstance(tool, Tool):
        return tool
    if isinstance(tool, Mapping):
        body = cast("Mapping[str, Any]", tool)
        body = body.get("function", body)
        unknown = set(body) - {"name", "description", "parameters", "strict"}
        if unknown or not isinstance(body.get("name"), str):
            raise InvalidRequest(
                f"unknown field {min(unknown)}" if unknown else "needs a name", at="tools"
            )
        return Tool(body["name"], body.get("description") or "", body.get("parameters") or {})
    if callable(tool):
        return _tool_of_function(tool)
    raise InvalidRequest(f"{tool!r} is no tool", at="tools", hint="give a function or its schema")


def _tool_of_function(function: Callable[..., Any]) -> Tool:
    import inspect  # a megabyte with what it imports

    name = getattr(function, "__name__", "tool")
    try:
        hints = get_type_hints(function, include_extras=True)
        slots: list[Any] = []
        for parameter in inspect.signature(function).parameters.values():
            kind = hints.get(parameter.name, Any)
            has_default = parameter.default is not inspect.Parameter.empty
            slots.append((parameter.name, kind, None) if has_default else (parameter.name, kind))
        arguments = msgspec.defstruct(name, slots, kw_only=True, forbid_unknown_fields=True)
        schema = msgspec.json.schema(arguments)
    except (TypeError, ValueError, NameError) as error:
        raise InvalidRequest(
            f"{name}: {error}", at="tools", hint="annotate its parameters"
        ) from None
    body = dict(schema["$defs"].pop(name))
    for field in body["properties"].values():
        field.pop("default", None)  # the real defaults are the function's business
    if schema["$defs"]:
        body["$defs"] = schema["$defs"]
    return Tool(name, inspect.getdoc(function) or "", body)


def messages_of(messages: str | Sequence[Any]) -> tuple[Message, ...]:
    """Messages from one text (a user's turn), mappings in OpenAI's form, or `Message` objects."""
    if isinstance(messages, str):
        return (Message("user", messages),)
    return tuple(_message(item, f"messages/{i}") for i, item in enumerate(messages))


def _message(item: Any, at: str) -> Message:
    if isinstance(item, Message):
        return item
    if not isinstance(item, Mapping):
        raise InvalidRequest("expected a message", at=at, hint='{"role": …, "content": …}')
    body = cast("Mapping[str, Any]", item)
    unknown = set(body) - _MESSAGE_FIELDS
    if unknown:
        raise InvalidRequest("unknown field", at=f"{at}/{min(unknown)}")
    try:
        return msgspec.convert(dict(body), Message)
    except msgspec.ValidationError as error:
        raise InvalidRequest(str(error), at=at) from None
