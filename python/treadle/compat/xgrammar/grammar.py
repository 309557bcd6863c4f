"""Grammars, independent of any tokenizer."""

# The objects of this package work on each other's handles.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from treadle.compat.xgrammar._source import Source, build, joined
from treadle.compat.xgrammar._stored import Json, field, load, store
from treadle.compat.xgrammar.base import XGRObject
from treadle.compat.xgrammar.structural_tag import StructuralTag, StructuralTagItem

if TYPE_CHECKING:
    from treadle.compat.xgrammar.tokenizer_info import TokenizerInfo

Schema = str | type[BaseModel] | dict[str, Any]


class Grammar(XGRObject):
    """The description of a language. Every constructor reads its source at once.

    All raise RefusedError (a RuntimeError whose `error` names place, keyword and remedy) for what
    cannot be read or cannot be enforced.
    """

    def __str__(self) -> str:
        """EBNF that reads back to the same language; where there is none (JSON Schemas), the source
        as comments, which no parser takes for a grammar."""
        recipe: Json = self._handle.recipe
        if recipe["type"] == "ebnf" and recipe["root"] == "root":
            return recipe["ebnf"]
        native = self._handle.native
        if (text := str(native)) != repr(native):
            return text
        lines = json.dumps(recipe, ensure_ascii=False, indent=1).splitlines()
        return "\n".join(["# not EBNF; made from:", *(f"# {line}" for line in lines), ""])

    @staticmethod
    def from_ebnf(ebnf_string: str, *, root_rule_name: str = "root") -> Grammar:
        """Texts derived from the rule `root_rule_name` of an EBNF (GBNF) grammar."""
        return _made({"type": "ebnf", "ebnf": ebnf_string, "root": root_rule_name})

    @staticmethod
    def from_json_schema(
        schema: Schema,
        *,
        any_whitespace: bool = True,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        strict_mode: bool = True,
        max_whitespace_cnt: int | None = None,
        print_converted_ebnf: bool = False,
        any_order: bool = False,
    ) -> Grammar:
        """JSON that satisfies a schema: a dict, JSON text, or a pydantic model.

        any_whitespace: runs of at most `max_whitespace_cnt` bytes (64 if None) between tokens; if
        False, json.dumps style with `indent` and `separators`. strict_mode: properties and items
        that the schema does not mention are forbidden. any_order: properties in any order, with
        required keys present and declared keys at most once; if False, in declared order.
        """
        grammar = _made(
            {
                "type": "json_schema",
                "schema": schema_text(schema),
                "any_whitespace": any_whitespace,
                "indent": indent,
                "separators": None if separators is None else list(separators),
                "strict_mode": strict_mode,
                "max_whitespace_cnt": max_whitespace_cnt,
                "any_order": any_order,
            }
        )
        return _printed(grammar, print_converted_ebnf)

    @staticmethod
    def from_regex(regex_string: str, *, print_converted_ebnf: bool = False) -> Grammar:
        """Texts that match an ECMA-262 pattern as a whole."""
        return _printed(_made({"type": "regex", "regex": regex_string}), print_converted_ebnf)

    @staticmethod
    def from_lark(
        lark_string: str,
        *,
        tokenizer_info: TokenizerInfo | None = None,
        named_grammars: dict[str, Grammar | str] | None = None,
    ) -> Grammar:
        """Texts derived from the rule `start` of a Lark grammar.

        `named_grammars`: what `@name` stands for, Lark texts or grammars from Lark. Names of tokens
        bind when the grammar is compiled, so `tokenizer_info` is not needed.
        """
        named = named_recipes(named_grammars)
        return _made({"type": "lark", "lark": lark_string, "named": named})

    @staticmethod
    def from_structural_tag(*args: Any, **kwargs: Any) -> Grammar:
        """Free text with structured parts.

        `from_structural_tag(structural_tag)` takes a StructuralTag, a dict or JSON text; the old
        form is `(tags, triggers)`. Raises InvalidJSONError, InvalidStructuralTagError or TypeError.
        """
        return _made({"type": "structural_tag", "tag": tag_text(args, kwargs)})

    @staticmethod
    def builtin_json_grammar() -> Grammar:
        """Any JSON object or array."""
        return _made({"type": "json"})

    @staticmethod
    def concat(*grammars: Grammar) -> Grammar:
        """One grammar after the other."""
        return Grammar._create_from_handle(joined("concat", [g._handle for g in grammars]))

    @staticmethod
    def union(*grammars: Grammar) -> Grammar:
        """Any one of the grammars."""
        return Grammar._create_from_handle(joined("union", [g._handle for g in grammars]))

    def serialize_json(self) -> str:
        """The grammar as JSON, in treadle's own format."""
        return store("grammar", {"source": self._handle.recipe})

    @staticmethod
    def deserialize_json(json_string: str) -> Grammar:
        """The grammar of `serialize_json`.

        Raises InvalidJSONError, DeserializeVersionError or DeserializeFormatError.
        """
        return _made(field(load("grammar", json_string), "source", dict))


def choice_grammar(strings: list[str]) -> Grammar:
    """Exactly one of the strings. Not part of xgrammar's interface."""
    return _made({"type": "choice", "strings": strings})


def schema_text(schema: Any) -> str:
    """A schema as JSON text. Raises ValueError for another type, TypeError inside a dict."""
    if isinstance(schema, str):
        return schema
    if isinstance(schema, dict):
        return json.dumps(schema, ensure_ascii=False)
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return json.dumps(schema.model_json_schema(), ensure_ascii=False)
    raise ValueError("a schema is a dict, JSON text or a pydantic model")


def tag_text(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """The one structural tag that a call with these arguments means, as JSON text."""
    if len(args) == 1 or (not args and "structural_tag" in kwargs):
        tag = args[0] if args else kwargs["structural_tag"]
        if isinstance(tag, StructuralTag):
            return tag.model_dump_json()
        if isinstance(tag, str):
            return tag
        if isinstance(tag, dict):
            return json.dumps(tag, ensure_ascii=False)
        raise TypeError(
            f"a structural tag is a StructuralTag, a dict or JSON text, got {tag!r:.60}"
        )
    old = args if len(args) == 2 else (kwargs.get("tags"), kwargs.get("triggers"))
    if not all(isinstance(part, list) for part in old):
        raise TypeError("give a structural tag, or a list of tags and a list of triggers")
    tags, triggers = cast("tuple[list[StructuralTagItem], list[str]]", old)
    return StructuralTag.from_legacy_structural_tag(tags, triggers).model_dump_json()


def named_recipes(named: dict[str, Grammar | str] | None) -> Json:
    """Named grammars as JSON: Lark texts as they are, grammars as their recipes."""
    if named is None:
        return {}
    if not isinstance(named, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("named_grammars must be a dictionary")
    out: Json = {}
    for name, grammar in named.items():
        if not isinstance(name, str) or not isinstance(grammar, (str, Grammar)):  # pyright: ignore
            raise TypeError("named_grammars maps names to grammars or Lark texts")
        out[name] = grammar if isinstance(grammar, str) else grammar._handle.recipe
    return out


def _made(recipe: Json) -> Grammar:
    source: Source = build(recipe)
    return Grammar._create_from_handle(source)


def _printed(grammar: Grammar, wanted: bool) -> Grammar:
    if wanted:
        print(grammar)
    return grammar
