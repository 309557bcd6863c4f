"""Distinct items of large languages: jsonschema's verdict, and masks that know the items before."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
import vocabularies
from byte_matcher import Language
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schema_data import escaped, exact_loads, validator

from treadle.errors import GrammarError, LimitExceeded
from treadle.grammar import Compiler, Grammar, Matcher, Vocab, mask_rows
from treadle.limits import GrammarLimits

UNIQUE: dict[str, Any] = {"type": "array", "uniqueItems": True}
ITEMS: list[dict[str, Any]] = [
    {"type": "string"},
    {"type": "string", "pattern": "^(abc|[d-z]+)$"},  # after "a" only one word is left
    {"type": "string", "minLength": 1, "maxLength": 2},
    {"type": "number"},
    {"type": "integer", "minimum": -3, "not": {"enum": [0]}},
    {"type": ["string", "null", "boolean", "number"]},
    {"anyOf": [{"type": "string", "format": "uuid"}, {"type": "string", "maxLength": 3}]},
]
TEXTS = [
    f'"{text}"' for text in ("", "a", "\\u0061", "b", "ab", "abc", "d", "\\ud83d\\ude00", "😀")
]
OTHERS = ["1", "1.0", "10e-1", "1e0", "-0", "0", "2", "2.5", "25E-1", "-2", "1e999", "10e998"]
SPELLED = [*TEXTS, *OTHERS, "null", "true", "false"]


def _same(item: str) -> Any:
    value = exact_loads(item)
    return (type(value) is bool, value) if not isinstance(value, str) else value


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(ITEMS),
    st.lists(st.lists(st.sampled_from(SPELLED), max_size=4), min_size=6, max_size=12),
    st.sampled_from([{}, {"minItems": 2}, {"maxItems": 2}, {"prefixItems": [{"minLength": 1}]}]),
)
def test_verdicts(item: Any, arrays: list[list[str]], counts: dict[str, Any]) -> None:
    schema = {**UNIQUE, "items": item, **counts}
    if "prefixItems" in counts:
        schema["prefixItems"] = [{"type": "string", "minLength": 1}]
    found = Language(Grammar.json_schema(schema))
    oracle = validator({key: value for key, value in schema.items() if key != "uniqueItems"})
    for array in arrays:
        text = "[" + ", ".join(array) + "]"
        values = [_same(spelled) for spelled in array]
        distinct = all(a != b for i, a in enumerate(values) for b in values[:i])
        valid = distinct and oracle.is_valid(exact_loads(text))
        assert (text in found) == valid, text


TEXTS_OF_TOKENS = [
    b'["', b'","', b'", "', b'"]', b'","a', b'","a"', b'","a","', b'a","a', b'a","b"',
    b'","b","a"]', b'["a","a"]', b'["a","b"', b'"a","a"', b'b","a', b'\\u0061","a"', b'","abc"',
    b'","ab', b'",', b"1,1", b"1,2", b"[1,1.0", b",1", b",1]", b", 1, 2",
    b"0,10e-1]", b",null,n", b"null,null",
    b"l,n", b'1,"1","1"', b"abc", b'c","d"', b"ull,null]", b'","', b'd","d"', b"ab", b'"a"',
]  # fmt: skip


def _bits(matcher: Matcher, size: int) -> np.ndarray:
    rows = mask_rows(1, size)
    matcher.fill(rows, 0)
    return np.unpackbits(rows.array().view(np.uint8), bitorder="little")[:size].astype(bool)


@pytest.mark.parametrize("item", ITEMS[:6], ids=json.dumps)
def test_masks_are_what_accepting_says(item: Any) -> None:
    """Also of tokens that hold whole items, whose neighbours are in the same token."""
    table = vocabularies.table(list(dict.fromkeys(TEXTS_OF_TOKENS)))
    vocab = Vocab(table)
    compiled = Compiler(vocab).compile(Grammar.json_schema({**UNIQUE, "items": item}))
    rng = random.Random(json.dumps(item))
    taken = 0
    for _ in range(30):
        matcher = compiled.matcher()
        for _ in range(10):
            mask = _bits(matcher, vocab.size)
            for token, data in enumerate(table.data[:-4]):
                assert matcher.fork().accept_bytes(data) == mask[token], data
            legal = [int(t) for t in np.flatnonzero(mask)]
            long = [t for t in legal if t < len(TEXTS_OF_TOKENS)]
            token = rng.choice(long if long and rng.random() < 0.8 else legal)
            assert matcher.accept(token)
            taken += token in long
            if matcher.finished:
                break
    assert taken > 30


def test_every_array_that_masks_allow_is_distinct() -> None:
    table = vocabularies.medium()
    vocab = Vocab(table)
    items = {"type": "string", "maxLength": 1, "pattern": "^[a-zA-Zé-𐀀]$"}
    compiled = Compiler(vocab).compile(
        Grammar.json_schema({**UNIQUE, "items": items, "minItems": 40}, whitespace=0)
    )
    rng = random.Random(3)
    for _ in range(3):
        matcher, out = compiled.matcher(), b""
        while not matcher.finished:
            token = int(rng.choice(list(np.flatnonzero(_bits(matcher, vocab.size)))))
            assert matcher.accept(token)
            out += b"" if matcher.finished else table.data[token]
        array = json.loads(out)
        assert len(array) >= 40
        assert len(set(array)) == len(array)


def test_state_goes_back_with_the_matcher() -> None:
    compiled = Compiler(Vocab(vocabularies.small())).compile(
        Grammar.json_schema({**UNIQUE, "items": {"type": "string"}})
    )
    matcher = compiled.matcher()
    assert matcher.accept_bytes(b'["ab"')
    fork = matcher.fork()
    assert not matcher.accept_bytes(b',"ab"')
    assert matcher.accept_bytes(b',"cd"')
    assert not matcher.accept_bytes(b',"cd"')
    matcher.rollback(1)
    assert matcher.accept_bytes(b',"cd"')
    assert fork.accept_bytes(b',"cd"]')
    assert matcher.forced() == b""


def test_captures_know_the_items() -> None:
    schema = json.dumps({**UNIQUE, "items": {"type": "string"}})
    grammar = Grammar.lark(f"start: list\nlist[capture]: %json {schema}")
    matcher = Compiler(Vocab(vocabularies.small())).compile(grammar).matcher()
    assert matcher.accept_bytes(b'["ab", "\\u0062"]')
    assert [text for _, text in matcher.captures()] == [b'["ab", "\\u0062"]']


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({**UNIQUE, "items": {"type": "object"}}, "unsupported"),
        ({**UNIQUE, "items": {"type": ["string", "array"]}}, "unsupported"),
        ({**UNIQUE, "items": {"type": "string", "pattern": "^[a-z]{2}$"}}, "unsupported"),
        ({**UNIQUE, "items": {"type": "string"}, "contains": {"const": "a"}}, "unsupported"),
        ({**UNIQUE, "items": {"type": "string"}, "minItems": 3, "maxItems": 2}, "unsatisfiable"),
    ],
)
def test_the_rest_is_refused(schema: Any, reason: str) -> None:
    with pytest.raises(GrammarError) as caught:
        Language(Grammar.json_schema(schema))
    assert caught.value.reason == reason


def test_few_values_will_do_for_few_items() -> None:
    schema = {**UNIQUE, "items": {"type": "string", "pattern": "^[a-z]{2}$"}, "maxItems": 600}
    found = Language(Grammar.json_schema(schema))
    assert '["aa","ab"]' in found
    assert '["aa","aa"]' not in found


@pytest.mark.timeout(60)
def test_long_arrays_end_in_a_limit() -> None:
    found = Language(Grammar.json_schema({**UNIQUE, "items": {"type": "string"}}))
    assert json.dumps([f"a{i}" for i in range(1000)]) in found
    assert json.dumps([f"a{i}" for i in range(1000)] + ["a7"]) not in found
    with pytest.raises(LimitExceeded) as caught:
        _ = json.dumps([f"a{i}" for i in range(1100)]) in found
    assert caught.value.limit == "seen_values"


def test_how_many_values_are_told_apart_is_a_limit() -> None:
    limits = GrammarLimits(seen_values=3)
    grammar = Grammar.json_schema({**UNIQUE, "items": {"type": "integer"}}, limits=limits)
    matcher = Compiler(Vocab(vocabularies.small()), limits).compile(grammar).matcher()
    assert matcher.accept_bytes(b"[1,2]")
    matcher.reset()
    with pytest.raises(LimitExceeded) as caught:
        matcher.accept_bytes(b"[1,2,3,4,5]")
    assert (caught.value.limit, caught.value.maximum) == ("seen_values", 3)


def test_spellings_do_not_make_values_distinct() -> None:
    found = Language(Grammar.json_schema({**UNIQUE, "items": {"type": "string"}}))
    rng = random.Random(5)
    for _ in range(50):
        first, second = rng.choice(["ab", "é", "xyz"]), rng.choice(["ab", "é", "xyz"])
        text = f"[{escaped(json.dumps(first, ensure_ascii=False), rng)}, {json.dumps(second)}]"
        assert (text in found) == (first != second), text
    assert '["\\ud834\\uDD1E\\/\\n", "𝄞/\\u000a"]' not in found
