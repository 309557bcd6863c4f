"""What is not supported or malformed is named by keyword and pointer; hostile input ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from byte_matcher import Language

from treadle.errors import GrammarError, LimitExceeded
from treadle.grammar import Grammar
from treadle.limits import GrammarLimits

UNSUPPORTED: list[tuple[dict[str, Any], str, str]] = [
    ({"items": {"uniqueItems": True}}, "uniqueItems", "/items/uniqueItems"),
    (
        {"properties": {"a/b": {"uniqueItems": True, "items": {"enum": list(range(300))}}}},
        "uniqueItems",
        "/properties/a~1b/uniqueItems",
    ),
    (
        {"unevaluatedProperties": False, "anyOf": [{"patternProperties": {"^a": {"minimum": 1}}}]},
        "unevaluatedProperties",
        "/unevaluatedProperties",
    ),
    (
        {"unevaluatedItems": False, "anyOf": [{"prefixItems": [{"uniqueItems": True}]}]},
        "unevaluatedItems",
        "/unevaluatedItems",
    ),
    ({"not": {"additionalProperties": {"type": "null"}}}, "not", "/not"),
    ({"not": {"uniqueItems": True}}, "not", "/not"),
    ({"not": {"unevaluatedItems": False}}, "not", "/not"),
    ({"if": {"patternProperties": {"a": {"type": "null"}}}, "then": False}, "if", "/if"),
    (
        {"contains": {"patternProperties": {"a": {"type": "null"}}}, "maxContains": 1},
        "contains",
        "/contains",
    ),
    ({"$ref": "https://example.org/other"}, "$ref", "/$ref"),
    ({"allOf": [{"$ref": "#/$defs/none"}]}, "$ref", "/allOf/0/$ref"),
    ({"pattern": "(a)\\1"}, "pattern", "/pattern"),
    ({"patternProperties": {"(a)\\1": {}}}, "patternProperties", "/patternProperties/(a)\\1"),
    ({"minProperties": 2}, "minProperties", "/minProperties"),
    ({"extends": {}}, "extends", "/extends"),
    ({"properties": {"a": {"required": True}}}, "required", "/properties/a/required"),
    (
        {"oneOf": [{"patternProperties": {"a": {"minimum": 1}}}, {"minLength": 1}]},
        "oneOf",
        "/oneOf",
    ),
    ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "$ref", ""),
]

MALFORMED: list[tuple[Any, str]] = [
    ({"type": "str"}, "/type"),
    ({"properties": {"age": {"minimum": "abc"}}}, "/properties/age/minimum"),
    ({"minLength": -1}, "/minLength"),
    ({"maxItems": 1.5}, "/maxItems"),
    ({"multipleOf": 0}, "/multipleOf"),
    ({"required": ["a", 1]}, "/required/1"),
    ({"anyOf": []}, "/anyOf"),
    ({"items": 3}, "/items"),
    ({"properties": []}, "/properties"),
    ({"pattern": "("}, "/pattern"),
    ({"$ref": 1}, "/$ref"),
    ({"dependentRequired": {"a": "b"}}, "/dependentRequired/a"),
]


@pytest.mark.parametrize(("schema", "keyword", "at"), UNSUPPORTED)
def test_unsupported_names_keyword_and_pointer(schema: Any, keyword: str, at: str) -> None:
    with pytest.raises(GrammarError) as caught:
        Grammar.json_schema(schema, at="/schema")
    error = caught.value
    assert (error.reason, error.keyword, error.at) == ("unsupported", keyword, f"/schema{at}")


@pytest.mark.parametrize(("schema", "at"), MALFORMED)
def test_malformed_names_the_pointer(schema: Any, at: str) -> None:
    with pytest.raises(GrammarError) as caught:
        Grammar.json_schema(schema)
    assert (caught.value.reason, caught.value.at) == ("syntax", at)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ('{"type": "object",}', "1:19"),
        ('{"a": 1,\n "a": 2}', "2:8"),
        ('{"type": 01}', "1:12"),
        ('["\\ud800"]', "1:9"),
        ('{"a": tru}', "1:7"),
        ("", "1:1"),
        ("{} x", "1:4"),
    ],
)
def test_text_errors_have_a_line_and_column(text: str, at: str) -> None:
    with pytest.raises(GrammarError) as caught:
        Grammar.json_schema(text)
    assert (caught.value.reason, caught.value.at) == ("syntax", at)


def test_lenient_drops_and_says_so() -> None:
    schema = {
        "type": "array",
        "items": {"type": "object"},
        "uniqueItems": True,
        "x": 1,
        "maxItems": 2,
    }
    grammar = Grammar.json_schema(schema, lenient=True)
    notes = {(note.at, note.keyword) for note in grammar.notes}
    assert notes == {("/uniqueItems", "uniqueItems"), ("/x", "x")}
    language = Language(grammar)
    assert "[{}, {}]" in language
    assert "[{}, {}, {}]" not in language
    assert '["a"]' not in language


def test_lenient_leaves_alternatives_alone_when_it_drops_what_they_decide() -> None:
    schema = {
        "type": "object",
        "anyOf": [
            {"patternProperties": {"^a": {"type": "null"}}},
            {"properties": {"b": {"const": 1}}, "required": ["b"]},
        ],
        "unevaluatedProperties": False,
    }
    grammar = Grammar.json_schema(schema, lenient=True)
    assert [note.at for note in grammar.notes] == ["/unevaluatedProperties"]
    language = Language(grammar)
    for text in ('{"a": null}', '{"a": null, "b": 1}', '{"a": 1, "b": 1}', '{"c": 1}'):
        assert text in language, text
    assert '{"a": 1, "b": 2}' not in language


def test_lenient_loosens_only_the_one_of_that_needs_it() -> None:
    hard = {"oneOf": [{"patternProperties": {"a": {"type": "null"}}}, {"required": ["a"]}]}
    easy = {"oneOf": [{"minimum": 1}, {"maximum": 3}], "type": "integer"}
    schema = {"prefixItems": [hard, easy], "items": False, "minItems": 2, "type": "array"}
    grammar = Grammar.json_schema(schema, lenient=True)
    assert [note.at for note in grammar.notes] == ["/prefixItems/0/oneOf"]
    language = Language(grammar)
    assert '[{"a": null}, 4]' in language
    assert '[{"a": null}, 2]' not in language


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"type": "object", "required": ["a"], "additionalProperties": False},
        {
            "type": "integer",
            "minimum": 2,
            "exclusiveMaximum": 3,
            "multipleOf": 2,
            "not": {"const": 2},
        },
        {"type": "string", "pattern": "^a+$", "maxLength": 3, "minLength": 5},
        {"allOf": [{"pattern": "^a"}, {"pattern": "^b"}], "type": "string"},
        {"type": "array", "minItems": 1, "items": False},
        {
            "$ref": "#/$defs/tree",
            "$defs": {
                "tree": {
                    "properties": {"t": {"$ref": "#/$defs/tree"}},
                    "required": ["t"],
                    "type": "object",
                }
            },
        },
    ],
)
def test_unsatisfiable_roots_are_refused(schema: Any) -> None:
    with pytest.raises(GrammarError) as caught:
        Grammar.json_schema(schema)
    assert caught.value.reason == "unsatisfiable"


def _nested(key: str, depth: int) -> str:
    return f'{{"{key}":' * depth + "{}" + "}" * depth


HOSTILE: dict[str, Any] = {
    "deep not": _nested("not", 100_000),
    "deep items": _nested("items", 900),
    "deep allOf": '{"allOf":[' * 450 + "{}" + "]}" * 450,
    "deep arrays": "[" * 100_000,
    "reference ring": {
        "$defs": {f"d{i}": {"$ref": f"#/$defs/d{(i + 1) % 2000}"} for i in range(2000)},
        "$ref": "#/$defs/d0",
    },
    "many alternatives": {"anyOf": [{"const": {"k": i}} for i in range(100_000)]},
    "product of alternatives": {
        "allOf": [
            {"anyOf": [{"minLength": i}, {"maxLength": j}]} for i in range(8) for j in range(8)
        ]
    },
    "many choices": {"oneOf": [{"properties": {"a": {"minimum": i}}} for i in range(500)]},
    "huge enum": {"enum": [f"value {i}" for i in range(100_000)]},
    "long pattern": {"pattern": "(a|b)?" * 166_000},
    "giant counts": {"type": "string", "minLength": 10**9, "pattern": "^(ab|cd)*$"},
    "giant arrays": {
        "minItems": 10**12,
        "items": {"type": "array", "minItems": 10**12},
        "type": "array",
    },
    "giant numbers": '{"minimum": 1' + "0" * 100_000 + "}",
    "big exponents": '{"multipleOf": 1e-999999999999}',
    "fine steps": {"allOf": [{"multipleOf": 10**-i * 7} for i in range(1, 9)], "type": "number"},
    "many keys": {"properties": {f"key {i}": {"type": "string"} for i in range(20_000)}},
    "many patterns": {"patternProperties": {f"k{i}": {"minLength": i} for i in range(40)}},
    "long text with a pattern": {"type": "string", "minLength": 10**9, "pattern": "a"},
    "rare items": {"type": "array", "contains": {"const": 1}, "minContains": 10**9},
    "many items before": {"type": "array", "contains": {"const": 1}, "minItems": 10**9},
    "many counters": {"allOf": [{"contains": {"const": i}} for i in range(40)], "type": "array"},
    "distinct and counted": {
        "type": "array",
        "items": {"enum": list(range(40))},
        "uniqueItems": True,
        "contains": {"const": 3},
    },
    "too few values": {
        "type": "array",
        "items": {"enum": list(range(250))},
        "uniqueItems": True,
        "minItems": 251,
    },
    "many evaluations": {
        "anyOf": [{"properties": {f"k{i}": {}}} for i in range(1000)],
        "unevaluatedProperties": False,
    },
    "nested evaluations": {
        "allOf": [
            {"anyOf": [{"properties": {f"k{i}": {}}}], "unevaluatedProperties": False}
            for i in range(8)
        ],
    },
    "big literals": {"not": {"enum": [{f"k{i}": [i] * 50} for i in range(200)]}},
    "another literal": {"not": {"const": list(range(100_000))}},
    "many goals": {"allOf": [{"not": {"propertyNames": {"const": f"k{i}"}}} for i in range(50)]},
    "scopes": {
        "$defs": {
            f"s{i}": {
                "$id": f"https://example.org/s{i}",
                "$dynamicAnchor": f"a{i}",
                "properties": {f"p{j}": {"$ref": f"s{j}"} for j in range(14)},
                "items": {"$dynamicRef": f"#a{i}"},
            }
            for i in range(14)
        },
        "$ref": "https://example.org/s0",
    },
    "dependencies": {"dependentSchemas": {f"k{i}": {"required": [f"r{i}"]} for i in range(40)}},
}


def _judge(text: str) -> str:
    try:
        language = Language(Grammar.json_schema(text))
    except (GrammarError, LimitExceeded) as error:
        return str(error)
    return "" if language.begins("  ") and not language.begins("x") else "wrong answer"


# What each one ends in, where that is not a working grammar.
ENDS = {
    "deep not": "source_depth",
    "deep arrays": "source_depth",
    "reference ring": "refers back to itself",
    "many alternatives": "branches",
    "product of alternatives": "branches",
    "many choices": "compile_fuel",
    "giant counts": "compile_fuel",
    "giant numbers": "number_digits",
    "big exponents": "number_digits",
    "many patterns": "compile_fuel",
    "long text with a pattern": "compile_fuel",
    "rare items": "compile_fuel",
    "many items before": "compile_fuel",
    "many counters": "branches",
    "distinct and counted": "compile_fuel",
    "too few values": "no value satisfies",
    "many evaluations": "more than 8 alternatives",
    "big literals": "branches",
    "another literal": "branches",
    "many goals": "branches",
    "scopes": "compile_fuel",
    "dependencies": "branches",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_schemas_end_in_an_answer(name: str) -> None:
    schema = HOSTILE[name]
    answer = _judge(schema if isinstance(schema, str) else json.dumps(schema))
    end = ENDS.get(name, "")
    assert end in answer
    assert bool(end) == bool(answer), answer
    assert "1" in Language(Grammar.json_schema({"type": "integer"})), "the next request works"


def test_limits_are_named() -> None:
    with pytest.raises(LimitExceeded) as caught:
        Grammar.json_schema(_nested("not", 50), limits=GrammarLimits(source_depth=20))
    assert (caught.value.limit, caught.value.maximum) == ("source_depth", 20)
    with pytest.raises(LimitExceeded) as caught:
        Grammar.json_schema({"title": "x" * 100}, limits=GrammarLimits(source_bytes=50))
    assert caught.value.limit == "source_bytes"
    many = {"anyOf": [{"minimum": i, "maxLength": i} for i in range(30)]}
    with pytest.raises(LimitExceeded) as caught:
        Grammar.json_schema(many, limits=GrammarLimits(branches=10))
    assert caught.value.limit == "branches"
