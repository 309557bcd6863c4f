"""Real schemas: every valid instance in every spelling is accepted, every invalid one is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from byte_matcher import Language
from schema_data import DATA, load, spellings

from treadle.errors import GrammarError
from treadle.grammar import Grammar

CASES: list[dict[str, Any]] = load(DATA / "maskbench.json")

# Refused, with the keyword that the error names.
REFUSED = {
    "Handwritten---pnmp10": "minProperties",
    "Synthesized---draft2019_09_valid_patternProperties_id15_subschema1_not_2": "not",
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_labelled_instances(case: dict[str, Any]) -> None:
    if case["name"] in REFUSED:
        with pytest.raises(GrammarError) as caught:
            Grammar.json_schema(case["schema"])
        assert (caught.value.reason, caught.value.keyword) == ("unsupported", REFUSED[case["name"]])
        return
    language = Language(Grammar.json_schema(case["schema"]))
    for index, test in enumerate(case["tests"]):
        texts = spellings(test["data"], index) if test["valid"] else [json.dumps(test["data"])]
        for text in texts:
            assert (text in language) == test["valid"], text


def test_declared_order_wants_the_order_of_properties() -> None:
    schema = {
        "properties": {"b": {"type": "integer"}, "a": {"type": "integer"}},
        "required": ["a"],
        "type": "object",
    }
    declared = Language(Grammar.json_schema(schema, order="declared"))
    for text in ('{"b":1,"a":2}', '{"a":2}', '{"a":2,"x":null}', '{"b":1,"a":2,"x":1,"y":2}'):
        assert text in declared
    for text in ('{"a":2,"b":1}', '{"b":1}', '{"x":1,"a":2}', '{"a":2,"x":1,"b":1}'):
        assert text not in declared
    free = Language(Grammar.json_schema(schema))
    assert '{"x":1,"a":2,"b":1}' in free
    assert '{"a":2,"a":3}' not in free


def test_a_declared_key_is_the_same_key_in_every_spelling() -> None:
    schema = {"properties": {"größe": {"type": "integer"}, "a/b": {"const": 1}}}
    language = Language(Grammar.json_schema(schema))
    assert '{"gr\\u00f6\\u00DFe": 1}' in language
    assert '{"gr\\u00f6\\u00DFe": "x"}' not in language
    assert '{"a\\/b": 1}' in language
    assert '{"a\\u002Fb": 2}' not in language
    assert '{"größe": 1, "gr\\u00f6ße": 1}' not in language


def test_whitespace_is_bounded_and_none_trails() -> None:
    language = Language(Grammar.json_schema({"type": "array"}, whitespace=3))
    assert "   [ 1 ,\n\t 2]" in language
    assert "[    1]" not in language
    assert "[1] " not in language
    assert "[1,2]" in Language(Grammar.json_schema({"type": "array"}, whitespace=0))
    assert "[1, 2]" not in Language(Grammar.json_schema({"type": "array"}, whitespace=0))
