"""Keys are offered exactly when their schema has a value, however plain or hidden that is."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import jsonschema
import pytest
from byte_matcher import Language

from treadle.errors import GrammarError
from treadle.grammar import Grammar

# Every schema below that has a value has one of these.
VALUES: list[Any] = [None, True, 0, 1, 2, 3, 4, 5, -1, 0.5, "", "a", "b", "ab", "abc", "abcd", [],
                     [0], ["a"], [1, 2], [0, 0, 0], ["a", "a"], {}, {"a": 1}, {"b": 1}, {"a": "a"},
                     {"a": 1, "b": 1}, {"a": "a", "b": 1}, {"a": {"a": 1}}, {"c": 0}, -2, "aaaaa",
                     [1], [1, 1], [1, "a"], {"": 0}, {"b": "a"}, {"a": "a", "b": "a"},
                     {"a": 1, "b": "a"}, "1.2.3.4"]  # fmt: skip

PARTS: dict[str, list[Any]] = {
    "type": ["string", "number", "integer", "array", "object", "null", ["string", "integer"]],
    "enum": [[1, "a"], [None], [[1]], ["abc", 0.5], [{"a": 1}]],
    "const": [1, "ab", 0.5, [], {}],
    "minimum": [0, 4, 0.5],
    "maximum": [-1, 3, 4.5],
    "exclusiveMinimum": [3],
    "multipleOf": [2, 0.5],
    "minLength": [0, 2, 5],
    "maxLength": [0, 3],
    "pattern": ["^a", "^(ab|c)$", "(?!)"],
    "format": ["ipv4", "int32"],
    "items": [{"type": "string"}, {"type": "integer"}, False, {"enum": []}],
    "prefixItems": [[{"type": "integer"}], [False]],
    "minItems": [0, 1, 2],
    "maxItems": [0, 1],
    "uniqueItems": [False],
    "contains": [{"const": 1}, False],
    "properties": [{"a": {"type": "integer"}}, {"a": False}, {"a": {"$ref": "#/$defs/self"}}],
    "required": [["a"], ["a", "b"], []],
    "additionalProperties": [False, {"type": "integer"}, {"minimum": 5, "maximum": 4}],
    "patternProperties": [{"^a": {"type": "string"}}, {"^": False}],
    "propertyNames": [{"maxLength": 0}, {"enum": ["b"]}],
    "minProperties": [0, 1],
    "maxProperties": [0, 1],
    "anyOf": [[False, {"type": "integer"}], [{"enum": []}, False]],
    "oneOf": [[{"type": "integer"}, {"minimum": 2}]],
    "allOf": [[{"type": "string"}], [False]],
    "not": [{"type": "string"}, {}],
    "$ref": ["#/$defs/text", "#/$defs/none", "#/$defs/self"],
}
DEFS: dict[str, Any] = {
    "text": {"type": "string", "minLength": 1},
    "none": {"type": "integer", "minimum": 5, "maximum": 4},
    "self": {"type": "object", "properties": {"a": {"$ref": "#/$defs/self"}}, "required": ["a"]},
}


def _has_value(schema: dict[str, Any]) -> bool:
    validator = jsonschema.Draft202012Validator(
        schema | {"$defs": DEFS}, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    return any(validator.is_valid(value) for value in VALUES)


def _language(schema: Any) -> Language | str:
    """The texts of a schema, or the reason why it is refused."""
    try:
        return Language(Grammar.json_schema(schema))
    except GrammarError as error:
        return error.reason


def _cases() -> list[dict[str, Any]]:
    rng = random.Random(4)
    cases = [{word: value} for word, values in PARTS.items() for value in values]
    typed = [w for w in PARTS if w != "type"]
    for kind, word in itertools.product(PARTS["type"], typed):
        cases += [{"type": kind, word: value} for value in PARTS[word]]
    for _ in range(1500):
        words = rng.sample(list(PARTS), rng.choice((2, 3, 3, 4)))
        cases.append({word: rng.choice(PARTS[word]) for word in words})
    return cases


def test_a_key_is_offered_exactly_when_it_has_a_value() -> None:
    offered = refused = 0
    for schema in _cases():
        whole = {"properties": {"key": schema}, "$defs": DEFS, "type": "object"}
        language = _language(whole)
        if isinstance(language, str):
            assert language == "unsupported", schema
            refused += 1
            continue
        expected = _has_value(schema)
        assert language.begins('{"key":') == expected, schema
        offered += expected
        needed = whole | {"required": ["key"]}
        if expected:
            assert Language(Grammar.json_schema(needed)).begins('{"key":'), schema
        else:
            assert _language(needed) == "unsatisfiable", schema
    assert offered > 1000
    assert refused < 300


LENGTHS = [(0, 3), (1, None), (2, None), (3, 3), (0, 0), (4, 9), (7, None), (0, 20)]
PATTERNS = ["^[ab]{2,5}$", "^(ab|c)+$", "^é*x$", "^(\\u{1F600}|y){1,3}$", "a", "^$", "^(x|yz){3}$",
            "^[^a]{4}$", "^(?=.*b)[ab]*$", "^\\d{3}-?\\d{2}$"]  # fmt: skip
TEXTS = [*("".join(t) for n in range(5) for t in itertools.product("abcé", repeat=n)),
         *("ab" * n for n in range(8)), *("\U0001f600" * n for n in range(5)),
         *("é" * n + "x" for n in range(9)), "yyy", "y", "xxx", "yzyzyz", "xyzx", "zzzz", "zzéz",
         "123-45", "12345", "1234567", "bbbbbbbbbbbbbbbbbbbbb", "abababababababababab"]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_lengths_that_a_pattern_keeps_by_itself_change_nothing(pattern: str) -> None:
    for low, high in LENGTHS:
        schema: dict[str, Any] = {"type": "string", "pattern": pattern, "minLength": low}
        if high is not None:
            schema["maxLength"] = high
        bare = jsonschema.Draft202012Validator({k: v for k, v in schema.items() if k != "pattern"})
        texts = Language(Grammar.json_schema({"type": "string", "pattern": pattern}))
        language = _language(schema)
        assert language != "unsupported"
        for text in TEXTS:
            spelled = json.dumps(text)
            expected = spelled in texts and bare.is_valid(text)
            found = not isinstance(language, str) and spelled in language
            assert found == expected, (schema, text)


def test_a_key_that_tells_alternatives_apart_keeps_them_from_multiplying() -> None:
    """Alternatives that share a base and need not have the key: each may hold beside the others."""

    def alternative(number: int) -> dict[str, Any]:
        own: dict[str, Any] = {f"n{number % 3}": {"type": "integer"}} if number > 1 else {}
        own["kind"] = {"type": "string", "enum": [f"k{number}", f"K{number}"]}
        return {"allOf": [{"$ref": "#/$defs/base"}, {"properties": own}]}

    base = {"type": "object", "properties": {"on": {"type": "boolean"}, "n": {"enum": ["a"]}}}
    schema = {"$defs": {"base": base}, "oneOf": [alternative(number) for number in range(12)]}
    language = Language(Grammar.json_schema(schema))  # products would pass `branches`
    validator = jsonschema.Draft202012Validator(schema)
    rng = random.Random(5)
    values = {"kind": ["k0", "K1", "k7", "K11", "x", 3], "on": [True, 0], "n": ["a", "b"]}
    values |= {f"n{number}": [1, "s"] for number in range(3)}
    seen = {True: 0, False: 0}
    for _ in range(400):
        keys = rng.sample(list(values), rng.randrange(1, 5))
        value = {key: rng.choice(values[key]) for key in keys}
        expected = validator.is_valid(value)
        seen[expected] += 1
        assert (json.dumps(value) in language) == expected, value
    assert min(seen.values()) > 40, seen
