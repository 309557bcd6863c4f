"""Stored grammars and tokenizers: altered anywhere, they load or say what is wrong."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("torch")

import treadle.compat.xgrammar as xgr

INFO = xgr.TokenizerInfo([chr(i) for i in range(32, 127)] + ["</s>"], stop_token_ids=[95])
GRAMMARS = {
    "ebnf": lambda: xgr.Grammar.from_ebnf('start ::= "x"', root_rule_name="start"),
    "regex": lambda: xgr.Grammar.from_regex("a+"),
    "schema": lambda: xgr.Grammar.from_json_schema({"type": "integer"}, any_order=True),
    "spaced": lambda: xgr.Grammar.from_json_schema({}, any_whitespace=False, separators=(",", ":")),
    "lark": lambda: xgr.Grammar.from_lark("start: @x", named_grammars={"x": 'start: "a"'}),
    "tag": lambda: xgr.Grammar.from_structural_tag(
        {"type": "structural_tag", "format": {"type": "const_string", "value": "a"}}
    ),
    "json": xgr.Grammar.builtin_json_grammar,
    "joined": lambda: xgr.Grammar.concat(
        xgr.Grammar.from_regex("a"),
        xgr.Grammar.union(xgr.Grammar.from_regex("b"), xgr.Grammar.from_regex("c")),
    ),
}
OTHERS: list[Any] = [None, 0, -1, 1.5, True, "", "x", [], {}, ["x"], [[]], {"x": 1}, 2**70]
TYPED = (xgr.InvalidJSONError, xgr.DeserializeVersionError, xgr.DeserializeFormatError)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(item, (*path, key))


def _altered(stored: str) -> Iterator[str]:
    """Every field replaced by values of other types and ranges, or taken out."""
    whole = json.loads(stored)
    for *path, last in list(_places(whole))[:60]:
        for other in [*OTHERS, KeyError]:
            changed = copy.deepcopy(whole)
            parent = changed
            for key in path:
                parent = parent[key]
            if other is KeyError:
                del parent[last]
            else:
                parent[last] = other
            yield json.dumps(changed)


def _check(stored: str, load: Callable[[str], Any]) -> int:
    refused = 0
    for text in _altered(stored):
        try:
            load(text)
        except TYPED:
            refused += 1
        except RuntimeError as error:  # well formed, but no grammar: the error of its language
            if not hasattr(error, "error"):
                raise
    return refused


@pytest.mark.parametrize("name", GRAMMARS)
def test_grammars(name: str) -> None:
    grammar = GRAMMARS[name]()
    stored = grammar.serialize_json()
    again = xgr.Grammar.deserialize_json(stored)
    assert again.serialize_json() == stored
    assert _check(stored, xgr.Grammar.deserialize_json) > 20
    compiled = xgr.GrammarCompiler(INFO).compile_grammar(grammar).serialize_json()
    loaded = xgr.CompiledGrammar.deserialize_json(compiled, INFO)
    assert loaded.serialize_json() == compiled
    assert _check(compiled, lambda text: xgr.CompiledGrammar.deserialize_json(text, INFO)) > 20


def test_tokenizers() -> None:
    stored = INFO.serialize_json()
    assert xgr.TokenizerInfo.deserialize_json(stored).serialize_json() == stored
    assert _check(stored, xgr.TokenizerInfo.deserialize_json) > 20


def test_named_grammars_are_lark() -> None:
    inner = xgr.Grammar.from_lark('start: @y "!"', named_grammars={"y": 'start: "a"'})
    grammar = xgr.Grammar.from_lark("start: @x @x", named_grammars={"x": inner})
    matcher = xgr.GrammarMatcher(xgr.GrammarCompiler(INFO).compile_grammar(grammar))
    assert matcher.accept_string("a!a!")
    assert matcher.is_completed()
    with pytest.raises(RuntimeError, match="only Lark"):
        xgr.Grammar.from_lark("start: @x", named_grammars={"x": GRAMMARS["regex"]()})
    with pytest.raises(RuntimeError, match="two meanings"):
        xgr.Grammar.from_lark("start: @x @y", named_grammars={"x": inner, "y": 'start: "b"'})


@pytest.mark.parametrize("name", ["ebnf", "regex", "lark", "tag", "joined"])
def test_grammars_print_as_ebnf(name: str) -> None:
    text = str(GRAMMARS[name]())
    again = xgr.Grammar.from_ebnf(text)
    compiler = xgr.GrammarCompiler(INFO)
    for grammar in (GRAMMARS[name](), again):
        matcher = xgr.GrammarMatcher(compiler.compile_grammar(grammar))
        taken = [matcher.fork().accept_string(word) for word in ("x", "a", "aa", "ab", "b")]
        assert taken == [
            name == "ebnf",
            name != "ebnf",
            name == "regex",
            name == "joined",
            False,
        ]


def test_captures_and_temperatures_of_rules() -> None:
    grammar = xgr.Grammar.from_lark('start: v\nv[capture, suffix="!", temperature=0.5]: /[a-z]+/')
    matcher = xgr.GrammarMatcher(xgr.GrammarCompiler(INFO).compile_grammar(grammar))
    assert matcher.temperature == 0.5
    assert matcher.accept_string("ab!")
    assert matcher.get_captures() == [("v", b"ab")]


@pytest.mark.parametrize("text", ["", "null", "[" * 100_000, '"x"', "\ud800", "1e999", "{}{}"])
def test_what_is_no_object(text: str) -> None:
    for load in (
        xgr.Grammar.deserialize_json,
        xgr.TokenizerInfo.deserialize_json,
        lambda text: xgr.CompiledGrammar.deserialize_json(text, INFO),
    ):
        with pytest.raises(TYPED):
            load(text)
