"""Whatever is sampled under masks validates in an independent validator."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import numpy as np
import pytest
import vocabularies
from schema_data import DATA, exact_loads, load, validator

from treadle.errors import GrammarError
from treadle.grammar import Compiler, Grammar, Vocab, mask_rows

TABLE = vocabularies.medium(800)
VOCAB = Vocab(TABLE)
COMPILER = Compiler(VOCAB)
STOP = TABLE.stop_ids[0]
CLOSERS = [
    i for i, text in enumerate(TABLE.data) if text in {b'"', b"}", b"]", b"}}", b'"}', b'",'}
]

TREE = {
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {
                "value": {
                    "type": "number",
                    "minimum": -1.5,
                    "exclusiveMaximum": 20,
                    "multipleOf": 0.5,
                },
                "left": {"$ref": "#/$defs/tree"},
                "right": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]},
            },
            "required": ["value"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/tree",
}
SCHEMAS: dict[str, Any] = {
    "tree": TREE,
    "anything": {},
    "counts": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {}, "c": {"maxLength": 3}},
        "minProperties": 2,
        "maxProperties": 2,
        "additionalProperties": False,
    },
    "patterns": {
        "type": "object",
        "patternProperties": {"^x": {"type": "integer"}, "y$": {"minimum": 3}},
        "additionalProperties": {"type": "boolean"},
        "propertyNames": {"maxLength": 4},
        "maxProperties": 3,
        "minProperties": 1,
    },
    "dependencies": {
        "type": "object",
        "properties": {"a": {"const": 1}, "b": {"enum": ["x", None]}, "c": {"type": "null"}},
        "dependentRequired": {"a": ["b"], "c": ["a"]},
        "additionalProperties": False,
        "minProperties": 1,
    },
    "alternatives": {
        "oneOf": [
            {"type": "string", "pattern": "^[a-z]{2,4}$", "not": {"const": "abc"}},
            {"type": "integer", "multipleOf": 3},
            {"type": "integer", "multipleOf": 5},
            {
                "prefixItems": [{"enum": ["k"]}],
                "items": {"type": "boolean"},
                "minItems": 2,
                "type": "array",
                "maxItems": 4,
            },
        ]
    },
    "conditions": {
        "type": "object",
        "properties": {"kind": {"enum": ["one", "two"]}, "n": {"type": "number"}},
        "required": ["kind", "n"],
        "if": {"properties": {"kind": {"const": "one"}}},
        "then": {"properties": {"n": {"maximum": 1}}},
        "else": {"properties": {"n": {"minimum": 2}}},
        "additionalProperties": False,
    },
    "counted items": {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": 99},
        "contains": {"multipleOf": 7},
        "minContains": 2,
        "maxContains": 3,
        "maxItems": 6,
        "not": {"items": {"maximum": 50}},
    },
    "distinct items": {
        "type": "array",
        "prefixItems": [{"enum": ["a", "b"]}, {"enum": ["a", "b"]}],
        "items": {"enum": ["a", "b", "c", {"k": [1, None]}, True]},
        "uniqueItems": True,
        "minItems": 4,
        "contains": {"type": "object"},
    },
    "obligations": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"enum": [1, "x"]}},
        "not": {
            "anyOf": [
                {"properties": {"a": {"minimum": 10}, "b": {"const": 1}}},
                {"propertyNames": {"enum": ["a", "b"]}},
                {"patternProperties": {"^[bc]$": {"type": "number"}}},
            ]
        },
        "maxProperties": 3,
    },
    "evaluations": {
        "type": "object",
        "anyOf": [
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "boolean"}}, "required": ["b"]},
        ],
        "unevaluatedProperties": {"const": 0},
        "maxProperties": 3,
    },
    "texts": {
        "type": "array",
        "items": {"format": "date-time", "type": "string"},
        "minItems": 1,
        "maxItems": 2,
    },
}


def sample(grammar: Grammar, rng: random.Random) -> str | None:
    """A document written token by token under masks; None if it grows beyond 300 tokens."""
    matcher = COMPILER.compile(grammar).matcher()
    rows = mask_rows(1, VOCAB.size)
    text = b""
    for step in range(300):
        matcher.fill(rows, 0)
        bits = np.unpackbits(rows.array().view(np.uint8), bitorder="little")[: VOCAB.size]
        legal = np.flatnonzero(bits)
        assert legal.size > 0, "a mask is never empty"
        if bits[STOP] and (step > 20 or rng.random() < 0.5):
            assert matcher.accept(STOP)
            return text.decode()
        closing = [i for i in CLOSERS if bits[i]] if step > 20 and rng.random() < 0.9 else []
        token = rng.choice(closing) if closing else int(rng.choice(legal))
        if token == STOP:
            assert matcher.accept(STOP)
            return text.decode()
        assert matcher.accept(token)
        text += TABLE.data[token]
    return None


def check(schema: Any, order: Any, seed: int, count: int) -> int:
    rng = random.Random(seed)
    grammar = Grammar.json_schema(schema, order=order, whitespace=2)
    oracle = validator(schema)
    finished = 0
    for _ in range(count):
        text = sample(grammar, rng)
        if text is None:
            continue
        finished += 1
        errors = list(oracle.iter_errors(exact_loads(text)))
        assert not errors, (text, errors[0].message)
    return finished


@pytest.mark.parametrize("order", ["any", "declared"])
@pytest.mark.parametrize("name", SCHEMAS)
def test_samples_validate(name: str, order: str) -> None:
    assert check(SCHEMAS[name], order, 11, 6) >= 3


def supported() -> list[dict[str, Any]]:
    """The stored schemas that the front end takes; which ones it refuses is pinned elsewhere."""
    out: list[dict[str, Any]] = []
    for case in load(DATA / "maskbench.json"):
        with contextlib.suppress(GrammarError):
            Grammar.json_schema(case["schema"])
            out.append(case)
    return [case for case in out if len(str(case["schema"])) < 2500]


def test_samples_of_real_schemas_validate() -> None:
    finished = [check(case["schema"], "any", seed, 1) for seed, case in enumerate(supported())]
    assert sum(finished) >= len(finished) // 3
