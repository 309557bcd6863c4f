"""Random schemas and values against an independent validator: accepted iff valid, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from byte_matcher import Language
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schema_data import exact_loads, validator

from treadle.errors import GrammarError, LimitExceeded
from treadle.grammar import Grammar

KEYS = st.sampled_from(["a", "b", "ab", "c"])
SCALARS = st.sampled_from([None, True, False, 0, 1, 2, 1.5, 1.0, "", "a", "ab", "b"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
COUNTS = st.integers(0, 3)
LEAVES: st.SearchStrategy[Any] = st.sampled_from(
    [
        True,
        False,
        {},
        {"type": "string"},
        {"type": "integer"},
        {"const": 1},
        {"enum": ["a", 1, None]},
        {"enum": [True, [1], {"a": 1}]},
        {"minimum": 1},
        {"multipleOf": 2},
        {"maxLength": 1},
        {"pattern": "^a"},
        {"type": ["array", "object"]},
    ]
)


def _object_of(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Up to three of the keywords."""
    return st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: fields[name] for name in names})
    )


def _extend(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    pair = st.lists(inner, min_size=1, max_size=2)
    named = st.dictionaries(KEYS, inner, min_size=1, max_size=2)
    objects = {
        "properties": named,
        "patternProperties": st.dictionaries(
            st.sampled_from(["^a", "b$", "^[ab]$"]), inner, min_size=1, max_size=1
        ),
        "additionalProperties": inner | st.just(False),
        "propertyNames": st.sampled_from([{"maxLength": 1}, {"enum": ["a", "b"]}, {"const": "a"}]),
        "required": st.lists(KEYS, max_size=2, unique=True),
        "minProperties": COUNTS,
        "maxProperties": COUNTS,
        "dependentRequired": st.just({"a": ["b"]}),
        "dependentSchemas": st.fixed_dictionaries({"a": inner}),
        "unevaluatedProperties": inner | st.just(False),
    }
    arrays = {
        "items": inner,
        "prefixItems": pair,
        "contains": inner,
        "minContains": COUNTS,
        "maxContains": COUNTS,
        "minItems": COUNTS,
        "maxItems": COUNTS,
        "uniqueItems": st.just(True),
        "unevaluatedItems": inner | st.just(False),
    }
    logic = {
        "allOf": pair,
        "anyOf": pair,
        "oneOf": pair,
        "not": inner,
        "if": inner,
        "then": inner,
        "else": inner,
        "const": VALUES,
        "enum": st.lists(VALUES, min_size=1, max_size=3),
    }
    return _object_of(**objects, **logic) | _object_of(**arrays, **logic) | _object_of(**logic)


SCHEMAS = st.recursive(LEAVES, _extend, max_leaves=6)


@settings(max_examples=250, suppress_health_check=list(HealthCheck))
@given(SCHEMAS, st.lists(VALUES, min_size=4, max_size=12))
def test_accepted_iff_valid(schema: Any, values: list[Any]) -> None:
    found: Language | None = None
    try:
        found = Language(Grammar.json_schema(schema))
    except GrammarError as error:
        if error.reason == "unsupported":
            return
    except LimitExceeded:
        return
    oracle = validator(schema)
    for value in values:
        text = json.dumps(value)
        assert (found is not None and text in found) == oracle.is_valid(exact_loads(text)), text


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        (  # the bad key may come first or last, by name or by pattern
            {"not": {"additionalProperties": False, "properties": {"a": {}}}, "type": "object"},
            ['{"b":1}', '{"a":1,"b":1}', '{"b":1,"a":1}'],
            ["{}", '{"a":1}'],
        ),
        (  # two goals, and room for two keys
            {
                "type": "object",
                "not": {"anyOf": [{"propertyNames": {"const": "a"}}, {"properties": {"a": False}}]},
                "maxProperties": 2,
            },
            ['{"a":1,"x":2}', '{"x":2,"a":1}'],
            ['{"a":1}', '{"x":1,"y":2}', '{"a":1,"x":2,"y":3}'],
        ),
        (
            {"patternProperties": {"^[a-c]$": True}, "additionalProperties": False,
             "minProperties": 2, "type": "object"},
            ['{"c":1,"a":2}'],
            ['{"a":1}', '{"a":1,"a":2}', '{"a":1,"d":2}'],
        ),
        (
            {"type": "array", "items": {"enum": [1, "x", {"k": [1]}]}, "uniqueItems": True,
             "minItems": 2},
            ['[1,"x"]', '[{"k":[1]},1.0]', '["x",{"k":[1]},1]'],
            ['[1,1.0]', '["x"]', '["\\u0078","x"]', '[{"k":[1]},{"k":[10e-1]}]'],
        ),
    ],
)  # fmt: skip
def test_obligations(schema: Any, valid: list[str], invalid: list[str]) -> None:
    found = Language(Grammar.json_schema(schema))
    for text in valid:
        assert text in found, text
    for text in invalid:
        assert text not in found, text


def test_two_values_for_three_places_are_too_few() -> None:
    schema = {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 3}
    with pytest.raises(GrammarError, match="no value"):
        Grammar.json_schema(schema)


def test_a_dynamic_reference_sees_where_it_came_from() -> None:
    def tree(strict: bool) -> Language:
        root = "strict" if strict else "tree"
        schema = {
            "$id": "https://example.org/root",
            "$ref": root,
            "$defs": {
                "tree": {
                    "$id": "tree",
                    "$dynamicAnchor": "node",
                    "properties": {"c": {"items": {"$dynamicRef": "#node"}, "type": "array"}},
                    "type": "object",
                },
                "strict": {
                    "$id": "strict",
                    "$dynamicAnchor": "node",
                    "$ref": "tree",
                    "unevaluatedProperties": False,
                },
            },
        }
        return Language(Grammar.json_schema(schema))

    odd = '{"c": [{"c": [{"d": 1}]}]}'
    assert odd in tree(strict=False)
    assert odd not in tree(strict=True)
    assert '{"c": [{"c": [{}]}]}' in tree(strict=True)
