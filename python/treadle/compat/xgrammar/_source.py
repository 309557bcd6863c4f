"""Sources: what a grammar was made from, as JSON, and treadle's grammar for it."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from treadle.compat.xgrammar._stored import Json, field
from treadle.compat.xgrammar.config import limits
from treadle.compat.xgrammar.exception import (
    DeserializeFormatError,
    InvalidJSONError,
    InvalidStructuralTagError,
    RefusedError,
)
from treadle.errors import GrammarError, InvalidRequest, LimitExceeded, TreadleError, Unsupported
from treadle.grammar import Grammar

if TYPE_CHECKING:
    from treadle.grammar.schema import SchemaOptions

_DEPTH = 64  # of stored concatenations and unions within each other


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """`recipe` is plain JSON, from which `build` makes an equal source."""

    recipe: Json
    native: Grammar


def build(recipe: Json, depth: int = 0) -> Source:
    """A source from its recipe. Raises RefusedError, InvalidJSONError, InvalidStructuralTagError
    for what the recipe says, DeserializeFormatError when it is no recipe."""
    kind = field(recipe, "type", str)
    if kind not in _MAKERS or depth > _DEPTH:
        raise DeserializeFormatError(f"type: {kind!r} is no kind of grammar")
    try:
        return Source(recipe, _MAKERS[kind](recipe, depth))
    except LimitExceeded as error:
        raise RefusedError(error) from error
    except (GrammarError, InvalidRequest) as error:
        if kind != "structural_tag":
            raise RefusedError(error) from error
        wrong = InvalidStructuralTagError(str(error))
        wrong.error = error  # type: ignore[attr-defined]
        raise wrong from error


def joined(kind: str, parts: list[Source]) -> Source:
    """`concat` or `union` of sources. Nothing concatenated is the empty text."""
    recipe: Json = {"type": kind, "parts": [part.recipe for part in parts]}
    try:
        return Source(recipe, _join(kind, [part.native for part in parts]))
    except TreadleError as error:
        raise RefusedError(error) from error


def lenient() -> bool:
    """Whether TREADLE_XGRAMMAR_LENIENT asks for xgrammar's approximations, with warnings."""
    return os.environ.get("TREADLE_XGRAMMAR_LENIENT", "") == "1"


def _join(kind: str, parts: list[Grammar]) -> Grammar:
    if not parts:
        if kind == "union":
            raise GrammarError("a union of nothing matches nothing", reason="unsatisfiable")
        return Grammar.literal("", limits=limits())
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part if kind == "concat" else whole | part
    return whole


def _schema(recipe: Json, depth: int) -> Grammar:
    text = field(recipe, "schema", str)
    options = _spelling(recipe)
    options["closed"] = field(recipe, "strict_mode", bool)
    options["order"] = "any" if field(recipe, "any_order", bool) else "declared"
    options["lenient"] = lenient()
    grammar = Grammar.json_schema(text, limits=limits(), **options)
    if options["lenient"]:
        for note in grammar.notes:
            warnings.warn(f"{note.at}: {note.keyword}: {note.text}", stacklevel=6)
    return grammar


def _spelling(recipe: Json) -> SchemaOptions:
    """How JSON is written, from the arguments that xgrammar has for it."""
    options: SchemaOptions = {}
    most = field(recipe, "max_whitespace_cnt", int, type(None))
    if most is not None and most < 1:
        raise InvalidRequest(f"must be positive, got {most}", at="max_whitespace_cnt")
    if field(recipe, "any_whitespace", bool):
        if most is not None:
            options["whitespace"] = min(most, limits().whitespace)
        return options
    options["indent"] = indent = field(recipe, "indent", int, type(None))
    given = field(recipe, "separators", list, type(None))
    usual = (", " if indent is None else ",", ": ")
    options["separators"] = usual if given is None else _pair(given)
    return options


def _pair(separators: list[Any]) -> tuple[str, str]:
    if len(separators) != 2 or not all(isinstance(text, str) for text in separators):
        raise InvalidRequest("expected two texts", at="separators")
    return separators[0], separators[1]


def _tag(recipe: Json, depth: int) -> Grammar:
    text = field(recipe, "tag", str)
    try:
        tag: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidJSONError(f"structural tag: {error}") from None
    if not isinstance(tag, dict):
        raise InvalidRequest("expected an object", at="structural_tag")
    return Grammar.tag(_without_nulls(cast(Json, tag)), limits=limits())


def _without_nulls(tag: Json) -> Json:
    """The tag without fields that are null, which is how optional fields say nothing.

    Schemas are left alone: null means something in them.
    """
    root: list[Any] = [tag]
    pending: list[tuple[Any, Any]] = [(root, 0)]
    while pending:
        holder, key = pending.pop()
        value = holder[key]
        if isinstance(value, dict):
            kept = {k: v for k, v in cast(Json, value).items() if v is not None}
            holder[key] = kept
            pending += [(kept, k) for k in kept if k not in ("json_schema", "schema")]
        elif isinstance(value, list):
            holder[key] = copy = list(cast("list[Any]", value))
            pending += [(copy, i) for i in range(len(copy))]
    return root[0]


def _lark(recipe: Json, depth: int) -> Grammar:
    named = _named(field(recipe, "named", dict), depth)
    return Grammar.lark(field(recipe, "lark", str), grammars=named, limits=limits())


def _named(named: Json, depth: int) -> dict[str, str | Json]:
    """What `@name` stands for: Lark texts, and grammars that were made from Lark, whose own names
    must not mean something else."""
    out: dict[str, str | Json] = {}
    for name, part in named.items():
        inner: dict[str, str | Json] = {}
        if isinstance(part, dict):
            source = cast(Json, part)
            if field(source, "type", str) != "lark":
                raise Unsupported(
                    f"{name} is a grammar from {source['type']}; here only Lark can be embedded",
                    at="named_grammars",
                    hint="give its Lark text, or join the grammars with Grammar.concat and .union",
                )
            if depth >= _DEPTH:
                raise DeserializeFormatError("named: too many grammars within each other")
            inner = _named(field(source, "named", dict), depth + 1)
            part = field(source, "lark", str)
        elif not isinstance(part, str):
            raise DeserializeFormatError(f"named: {name} is no text and no grammar")
        for key, text in {name: part, **inner}.items():
            if out.setdefault(key, text) != text:
                raise Unsupported(
                    f"{key} has two meanings", at="named_grammars", hint="rename one of them"
                )
    return out


def _parts(recipe: Json, depth: int) -> Grammar:
    parts: list[Any] = field(recipe, "parts", list)
    if not all(isinstance(part, dict) for part in parts):
        raise DeserializeFormatError("parts: expected objects")
    return _join(recipe["type"], [build(part, depth + 1).native for part in parts])


_MAKERS: dict[str, Callable[[Json, int], Grammar]] = {
    "json_schema": _schema,
    "structural_tag": _tag,
    "lark": _lark,
    "concat": _parts,
    "union": _parts,
    # Like xgrammar's: an object or an array.
    "json": lambda recipe, depth: Grammar.json_schema(
        '{"type": ["object", "array"]}', limits=limits()
    ),
    "choice": lambda recipe, depth: Grammar.choice(field(recipe, "strings", list), limits=limits()),
    "regex": lambda recipe, depth: Grammar.regex(field(recipe, "regex", str), limits=limits()),
    "ebnf": lambda recipe, depth: Grammar.ebnf(
        field(recipe, "ebnf", str), field(recipe, "root", str), limits=limits()
    ),
}
