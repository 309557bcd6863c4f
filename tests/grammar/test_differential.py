"""The same question to several engines: is this text in the language, what byte may come next.

Random JSON texts are judged by jsonschema, random patterns by `re`, random grammars by derivation;
next bytes are compared with llguidance's and xgrammar's masks where the languages are meant to be
one. `tests/grammar/data/differences.toml` holds what engines are known to disagree on, and
docs/grammar-differences.md says who is right. TREADLE_FUZZ=1000 multiplies the number of examples.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import random
import re
import tomllib
from typing import Any

import numpy as np
import pytest
import test_ebnf
from byte_matcher import Language
from differential_peers import PEERS, PeerLanguage, RefusedError, installed
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from schema_data import DATA, exact_loads, validator
from test_schema_property import SCHEMAS, VALUES

from treadle.errors import GrammarError, LimitExceeded, TreadleError
from treadle.grammar import Compiler, Grammar, Vocab, mask_rows
from treadle.grammar.matcher import Matcher
from treadle.types import TokenKind, TokenTable

TIMES = int(os.environ.get("TREADLE_FUZZ", "1"))
CATALOGUE = tomllib.loads((DATA / "differences.toml").read_text("utf-8"))
DIFFERENCES = CATALOGUE["difference"]
WORDS = {True: "accepts", False: "rejects", None: "refuses"}
BYTES = Compiler(
    Vocab(
        TokenTable(
            (*(bytes([i]) for i in range(256)), b"</s>"),
            (TokenKind.NORMAL,) * 256 + (TokenKind.CONTROL,),
            stop_ids=(256,),
        )
    )
)


def long(examples: int) -> Any:
    """Settings of a fuzz test: the same examples every time, or many new ones."""
    return settings(
        max_examples=examples * TIMES,
        derandomize=TIMES == 1,
        suppress_health_check=list(HealthCheck),
    )


def verdict(engine: str, source: str, text: str) -> str:
    """What an engine says about a text: accepts, rejects, or refuses the schema."""
    schema = json.loads(source)
    try:
        if engine == "treadle":
            return WORDS[text in Language(Grammar.json_schema(schema))]
        return WORDS[text in PeerLanguage(engine, "json_schema", schema)]
    except (TreadleError, RefusedError):
        return WORDS[None]


@pytest.mark.parametrize("row", DIFFERENCES, ids=lambda row: f"{row['source'][:40]} {row['text']}")
def test_we_say_what_the_catalogue_says(row: dict[str, str]) -> None:
    found = verdict("treadle", row["source"], row["text"])
    assert found == row["treadle"]
    assert found == row["right"] or "on purpose" in row["why"]


@pytest.mark.parametrize("row", DIFFERENCES, ids=lambda row: f"{row['source'][:40]} {row['text']}")
def test_the_catalogue_is_right_about_the_standard(row: dict[str, str]) -> None:
    """`right` is what jsonschema says, where it judges this at all."""
    if "oracle" in row:
        pytest.skip(row["oracle"])
    if '"format"' in row["source"]:
        pytest.skip("no oracle for formats here; test_schema_suite.py has one")
    expected = validator(json.loads(row["source"])).is_valid(exact_loads(row["text"]))
    assert row["right"] == WORDS[expected]


@pytest.mark.parametrize("engine", PEERS)
def test_peers_say_what_the_catalogue_says(engine: str) -> None:
    if not installed(engine):
        pytest.skip(f"{engine} is not installed")
    version = importlib.metadata.version(engine)
    if version != CATALOGUE["versions"][engine]:
        pytest.skip(f"the catalogue is about {engine} {CATALOGUE['versions'][engine]}")
    wrong = [
        (row["source"], row["text"], found)
        for row in DIFFERENCES
        if (found := verdict(engine, row["source"], row["text"])) != row[engine]
    ]
    assert not wrong


# JSON texts, valid and nearly so


MARKS = ['"', "\\", ",", ":", "[", "]", "{", "}", " ", "\n", "0", "1", "-", ".", "e", "a", "\x7f"]
NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?([0-9]+))?")


def spelled(value: Any, rng: random.Random) -> str:
    """A random spelling of a value: whitespace, escapes, numbers."""
    space = lambda: rng.choice(["", "", "", " ", "\n", "\t "])  # noqa: E731
    if isinstance(value, dict):
        inner = ",".join(
            f"{space()}{spelled(key, rng)}{space()}:{space()}{spelled(item, rng)}{space()}"
            for key, item in rng.sample(list(value.items()), len(value))
        )
        return "{" + (inner or space()) + "}"
    if isinstance(value, list):
        inner = ",".join(f"{space()}{spelled(item, rng)}{space()}" for item in value)
        return "[" + (inner or space()) + "]"
    if isinstance(value, str):
        return '"' + "".join(c if rng.random() < 0.7 else f"\\u{ord(c):04X}" for c in value) + '"'
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.3:
        return rng.choice([f"{value}e0", f"{value * 10}e-1", f"{float(value)}", f"{float(value)}0"])
    return json.dumps(value)


def mutated(text: str, rng: random.Random) -> str:
    """The text with one character removed, doubled, replaced or added."""
    at = rng.randrange(len(text) + 1)
    kind = rng.randrange(4)
    if kind == 0:
        return text[:at] + text[at + 1 :]
    if kind == 1:
        return text[:at] + text[at : at + 1] * 2 + text[at + 1 :]
    return text[:at] + rng.choice(MARKS) + text[at + (kind == 2) :]


def strict(text: str) -> Any:
    """The value of a JSON text by RFC 8259. Raises ValueError; assume() skips repeated names."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assume(len({key for key, _ in pairs}) == len(pairs))
        return dict(pairs)

    def never(name: str) -> None:
        raise ValueError(name)

    json.loads(text, object_pairs_hook=unique, parse_constant=never)
    return exact_loads(text)


@long(300)
@given(SCHEMAS, st.lists(VALUES, min_size=2, max_size=5), st.integers(0, 2**32))
def test_json_texts_agree_with_jsonschema(schema: Any, values: list[Any], seed: int) -> None:
    rng = random.Random(seed)
    try:
        found = Language(Grammar.json_schema(schema))
    except (GrammarError, LimitExceeded):
        return
    oracle = validator(schema)
    for value in values:
        text = spelled(value, rng)
        for _ in range(rng.randrange(3)):
            text = mutated(text, rng)
        exponents = [match[1] or "" for match in NUMBER.finditer(text)]
        if any(len(digits) > 3 for digits in exponents) or text != text.rstrip(" \n\t\r"):
            continue  # bounded, and none after the value: both on purpose
        try:
            expected = oracle.is_valid(strict(text))
        except (ValueError, RecursionError):
            expected = False
        assert (text in found) == expected, text


# Next bytes


def matcher_of(grammar: Grammar) -> Matcher:
    return BYTES.compile(grammar).matcher()


def follows(matcher: Matcher) -> frozenset[int]:
    """The bytes that the mask allows."""
    rows = mask_rows(1, 257)
    matcher.fill(rows)
    bits = np.unpackbits(rows.array().view(np.uint8)[0], bitorder="little")
    return frozenset(int(i) for i in np.flatnonzero(bits[:256]))


def lockstep(ours: Matcher, theirs: PeerLanguage, rng: random.Random, known: Any) -> None:
    """A random text, byte by byte; both must allow the same next bytes but for `known` ones."""
    text = b""
    for _ in range(60):
        mine, other = follows(ours), theirs.follows(text)
        assert other is not None, text
        differ = {byte for byte in mine ^ other if not known(text, byte)}
        assert not differ, (text, sorted(mine - other), sorted(other - mine))
        both = sorted(mine & other)
        if not both:
            return
        # Letters rarely, ends often, or strings would never close.
        closing = [byte for byte in both if byte in b'"}],:']
        byte = rng.choice(closing if closing and rng.random() < 0.6 else both)
        assert ours.accept(byte)
        text += bytes([byte])


COMMON_LEAVES = st.sampled_from(
    [
        {"type": "string"},
        {"type": "boolean"},
        {"type": "null"},
        {"type": "integer"},
        {"type": "integer", "minimum": -3, "maximum": 120},
        {"type": "integer", "minimum": 7},
        {"enum": ["a", "ab", "b"]},
        {"const": "x y"},
        {"type": "string", "pattern": "^[a-c]{2,4}$"},
        {"type": "string", "pattern": "^(ab|cd)*e$"},
    ]
)


def _common(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.dictionaries(st.sampled_from(["a", "ab", "c d"]), inner, min_size=1, max_size=3)
    closed = names.flatmap(
        lambda named: st.lists(st.sampled_from(sorted(named)), unique=True).map(
            lambda required: {
                "type": "object",
                "properties": named,
                "required": required,
                "additionalProperties": False,
            }
        )
    )
    counts = st.tuples(st.integers(0, 2), st.integers(2, 4))
    arrays = st.builds(
        lambda items, bounds: {
            "type": "array",
            "items": items,
            "minItems": bounds[0],
            "maxItems": bounds[1],
        },
        inner,
        counts,
    )
    tuples = st.lists(inner, min_size=1, max_size=3).map(
        lambda items: {
            "type": "array",
            "prefixItems": items,
            "items": False,
            "minItems": len(items),
        }
    )
    either = st.lists(inner, min_size=2, max_size=3).map(lambda items: {"anyOf": items})
    return closed | arrays | tuples | either


def spelling(text: bytes, byte: int) -> bool:
    """What is spelled otherwise on purpose. llguidance: DEL only escaped, no whitespace before the
    value. treadle: plain numbers of at most 24 digits.
    """
    return (
        byte == 0x7F
        or re.search(rb"[0-9]{24}$", text) is not None
        or (text.strip() == b"" and byte in b" \n\r\t")
        or (text.endswith(b"\\u00") and byte == ord("7"))
        or text.endswith(b"\\u007")
    )


@pytest.mark.skipif(not installed("llguidance"), reason="llguidance is not installed")
@long(60)
@given(st.recursive(COMMON_LEAVES, _common, max_leaves=6), st.integers(0, 2**32))
def test_schema_masks_agree_with_llguidance(schema: Any, seed: int) -> None:
    """Keys as declared, shortest spellings: the language that llguidance writes."""
    grammar = Grammar.json_schema(schema, order="declared", escapes="minimal", numbers="plain")
    try:
        theirs = PeerLanguage("llguidance", "json_schema", schema)
    except RefusedError:
        return
    lockstep(matcher_of(grammar), theirs, random.Random(seed), spelling)


# Patterns without what dialects read differently (\w, \d, \s, the dot, anchors, lookaround).
ATOMS = st.sampled_from(["a", "b", "é", "[ab]", "[^a]", "[a-cx]", "[^\n]", "ab", "\\.", "-"])


def _patterns(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    loops = st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}", "{0,40}"])
    grouped = st.tuples(inner, loops).map(lambda pair: f"(?:{pair[0]}){pair[1]}")
    either = st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({'|'.join(parts)})")
    return grouped | either | st.lists(inner, min_size=2, max_size=3).map("".join)


PATTERNS = st.recursive(ATOMS, _patterns, max_leaves=6)


def surrogate(text: bytes, byte: int) -> bool:
    """Half of a UTF-16 pair, which no UTF-8 holds (RFC 3629 section 3) but xgrammar's negated
    classes do.
    """
    return text.endswith(b"\xed") and 0xA0 <= byte <= 0xBF


@pytest.mark.parametrize("engine", PEERS)
@long(60)
@given(pattern=PATTERNS, seed=st.integers(0, 2**32))
def test_pattern_masks_agree(engine: str, pattern: str, seed: int) -> None:
    if not installed(engine):
        pytest.skip(f"{engine} is not installed")
    try:
        theirs = PeerLanguage(engine, "regex", pattern)
    except RefusedError:
        return
    lockstep(matcher_of(Grammar.regex(pattern)), theirs, random.Random(seed), surrogate)


def finishing(rules: dict[str, list[list[str]]]) -> set[str]:
    """Rules that some text ends; xgrammar's masks also lead into the others."""
    found: set[str] = set()
    for _ in rules:
        for name, alternatives in rules.items():
            if any(all(p in found or p not in rules for p in parts) for parts in alternatives):
                found.add(name)
    return found


def printed(parts: list[str], rules: dict[str, list[list[str]]]) -> str:
    """One alternative; the empty one as `""`, which every dialect takes."""
    return " ".join(part if part in rules else f'"{part}"' for part in parts) or '""'


@long(80)
@given(test_ebnf.grammars, st.integers(0, 2**32))
def test_grammar_masks_agree(rules: dict[str, list[list[str]]], seed: int) -> None:
    """What derivation reaches is allowed; and the same bytes as in xgrammar, where it is there."""
    most = 6
    words = test_ebnf._words(rules, most)
    text = "\n".join(
        f"{name} ::= {' | '.join(printed(parts, rules) for parts in alternatives)}"
        for name, alternatives in rules.items()
    )
    try:
        ours = matcher_of(Grammar.ebnf(text))
    except GrammarError as error:
        if error.reason != "unsatisfiable" or words:
            raise
        return
    rng = random.Random(seed)
    try:
        for word in rng.sample(sorted(words), min(len(words), 8)):
            ours.reset()
            for at, byte in enumerate(word.encode()):
                reach = {w.encode()[at] for w in words if w[:at] == word[:at] and len(w) > at}
                assert reach <= follows(ours), (text, word[:at])
                assert ours.accept(byte)
            assert ours.accepting
        if installed("xgrammar") and finishing(rules) == set(rules):
            ours.reset()
            theirs = PeerLanguage("xgrammar", "ebnf", text)
            lockstep(ours, theirs, rng, lambda *_: False)
    except LimitExceeded:  # too many readings at once is refused, not guessed
        return
