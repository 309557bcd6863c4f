"""Random schemas and documents: the grammar judges as jsonschema does, or refuses the schema."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from treadle.errors import GrammarError, LimitExceeded
from treadle.grammar import Grammar

sys.path.insert(0, str(Path(__file__).parents[1] / "grammar"))
from byte_matcher import Language
from schema_data import spellings, validator

KEYS = st.sampled_from(["a", "b", "ab", "é"])
NUMBERS = st.sampled_from([-2, -1, 0, 1, 2, 3, 0.5, 1.5, 1.0, 10])
TEXTS = st.sampled_from(["", "a", "b", "ab", "ba", "aab", "é", "2024-02-29", 'x"y', "\n"])
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)
TYPES = st.sampled_from(["null", "boolean", "number", "integer", "string", "array", "object"])
COUNTS = st.integers(0, 3)
PATTERNS = st.sampled_from(["a", "^a", "b$", "^[ab]*$", "^(a|b){2}$", "[^a]"])


def schemas_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, min_size=1, max_size=3)
    objects = st.dictionaries(KEYS, inner, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.one_of(TYPES, st.lists(TYPES, min_size=1, max_size=3, unique=True)),
            "enum": st.lists(VALUES, min_size=1, max_size=3),
            "const": VALUES,
            "minimum": NUMBERS,
            "exclusiveMaximum": NUMBERS,
            "multipleOf": st.sampled_from([1, 2, 0.5, 1.5]),
            "minLength": COUNTS,
            "maxLength": COUNTS,
            "pattern": PATTERNS,
            "format": st.just("date"),
            "prefixItems": lists,
            "items": inner,
            "minItems": COUNTS,
            "maxItems": COUNTS,
            "properties": objects,
            "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
            "additionalProperties": inner,
            "propertyNames": inner,
            "required": st.lists(KEYS, max_size=2, unique=True),
            "minProperties": COUNTS,
            "maxProperties": COUNTS,
            "dependentRequired": st.dictionaries(KEYS, st.lists(KEYS, max_size=2), max_size=2),
            "dependentSchemas": objects,
            "allOf": lists,
            "anyOf": lists,
            "oneOf": lists,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "$ref": st.sampled_from(["#/$defs/a", "#/$defs/b"]),
        },
    ).filter(lambda schema: len(schema) <= 4)


SCHEMAS = st.recursive(st.booleans(), schemas_of, max_leaves=6)


def judge(schema: Any) -> Language | GrammarError | LimitExceeded:
    text = schema if isinstance(schema, str) else json.dumps(schema)
    try:
        return Language(Grammar.json_schema(text, formats=False))
    except (GrammarError, LimitExceeded) as error:
        return error


@settings(max_examples=300, suppress_health_check=list(HealthCheck), derandomize=True)
@given(schema=SCHEMAS, defs=st.tuples(SCHEMAS, SCHEMAS), values=st.lists(VALUES, max_size=6))
def test_judges_as_jsonschema_does(schema: Any, defs: tuple[Any, Any], values: list[Any]) -> None:
    if isinstance(schema, dict):
        schema = {**schema, "$defs": {"a": defs[0], "b": defs[1]}}
    language = judge(schema)
    if isinstance(language, LimitExceeded):
        return
    refused = isinstance(language, GrammarError)
    if refused and language.reason == "unsupported":
        return
    assert not refused or language.reason == "unsatisfiable"
    oracle = validator(schema)
    for index, value in enumerate(values):
        expected = oracle.is_valid(value)
        for text in spellings(value, index):
            assert (not refused and text in language) == expected, (schema, text)


@settings(max_examples=300, derandomize=True)
@given(st.text(alphabet='{}[]":,\\u0aetypns$rfl.-1 ', max_size=60))
def test_any_text_gives_a_grammar_or_an_error(text: str) -> None:
    answer = judge(text)
    if isinstance(answer, Language):
        json.loads(text)
    else:
        assert str(answer)
