"""Patterns: random ones against Python's `re`, hostile ones against the clock."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import unicodedata
from collections.abc import Callable

import pytest
from byte_matcher import Language
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from treadle.errors import GrammarError, LimitExceeded
from treadle.grammar import Grammar

LETTERS = ["a", "b", "_", "-", " ", "\n", "é", "1"]
TEXTS = ["".join(t) for n in range(4) for t in itertools.product(LETTERS, repeat=n)]

ATOMS = ["a", "b", "-", "_", "1", "é", ".", "[ab]", "[^a]", "[a-b1]", "()"]
ESCAPES = [r"\w", r"\W", r"\d", r"\D", r"\s", r"[^é\n]", r"[\w-]", r"[^\w]"]
atoms = st.sampled_from(ATOMS + ESCAPES)
anchors = st.sampled_from(["^", "$"])
borders = st.sampled_from([r"\b", r"\B"])
quantifiers = st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?", "{3,}?"])


def _joined(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    branch = st.lists(items, max_size=4).map("".join)
    return st.lists(branch, min_size=1, max_size=3).map("|".join)


def _group(inner: st.SearchStrategy[str], opens: list[str]) -> st.SearchStrategy[str]:
    return st.tuples(st.sampled_from(opens), inner).map(lambda p: f"{p[0]}{p[1]})")


def _quantified(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(inner, quantifiers).map("".join)


# What may stand under a quantifier: no lookaround, no \b, but ^ and $. Loops nest once only, since
# `re` backtracks and would take exponential time over deeper ones.
small = _quantified(atoms) | atoms | anchors
inner = st.recursive(small, lambda s: _group(_joined(s), ["(", "(?:"]), max_leaves=6)
loops = _quantified(atoms | _group(_joined(inner), ["(", "(?:"]))
pieces = st.recursive(
    atoms | anchors | borders | loops,
    lambda s: _group(_joined(s), ["(", "(?:", "(?=", "(?!"]),
    max_leaves=8,
)
endings = st.sampled_from(["", "", "", "(?<=a)", "(?<!-)", r"(?<!\w)$"])
patterns = st.tuples(_joined(pieces), endings).map("".join)


def _oracle(pattern: str) -> re.Pattern[str]:
    """The same pattern for `re`, where $ would also match before a last line end."""
    ends = re.sub(r"\\.|\[(?:\\.|[^\]])*\]|\$", lambda m: m[0].replace("$", r"\Z", 1), pattern)
    return re.compile(ends, re.ASCII)


def _texts(pattern: str) -> list[str]:
    # re before Python 3.14 denies \B on the empty text; ECMA-262 does not.
    return [t for t in TEXTS if t or r"\B" not in pattern]


def _compile(build: Callable[[], Grammar]) -> Language | None:
    try:
        return Language(build())
    except LimitExceeded as limit:  # hypothesis also writes patterns that nobody would
        if limit.limit != "compile_fuel":
            raise
        reject()
    except GrammarError as error:  # refused, or no text matches at all
        if error.reason not in ("unsupported", "unsatisfiable"):
            raise
        return None


@settings(max_examples=250)
@given(patterns, st.integers(0, 12))
def test_whole_match_agrees_with_re(pattern: str, start: int) -> None:
    oracle = _oracle(pattern)
    language = _compile(lambda: Grammar.regex(pattern))
    for text in _texts(pattern)[start::13]:
        wanted = oracle.fullmatch(text) is not None
        assert (language is not None and text in language) == wanted or (
            language is None and _refused(pattern)
        ), text


@settings(max_examples=150)
@given(patterns, st.integers(0, 12))
def test_schema_pattern_searches(pattern: str, start: int) -> None:
    oracle = _oracle(pattern)
    schema = {"type": "string", "pattern": pattern}
    language = _compile(lambda: Grammar.json_schema(schema))
    for text in _texts(pattern)[start::13]:
        wanted = oracle.search(text) is not None
        spelt = json.dumps(text, ensure_ascii=len(text) % 2 == 0)
        assert (language is not None and spelt in language) == wanted or (
            language is None and _refused(pattern)
        ), text


def _refused(pattern: str) -> bool:
    """Lookbehind after a lookahead is the one thing the strategy makes that is not supported."""
    return "(?<" in pattern and ("(?=" in pattern or "(?!" in pattern)


def test_counters_stay_counters() -> None:
    language = Language(Grammar.regex(r"[^a]{3,1000}x{0,2147483647}"))
    assert "é" * 1000 in language
    assert "é" * 1001 not in language
    assert "éé" not in language
    assert "é" * 3 + "x" * 5000 in language


def test_text_is_utf8_only() -> None:
    language = Language(Grammar.regex("[^]*"))
    assert "\0😀é" in language
    for bad in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3"):
        assert bad not in language


def test_categories_are_those_of_unicode() -> None:
    # Code points of Unicode 3.2 have long been settled, whatever table this Python has.
    old = [chr(c) for c in range(0, 0x110000, 37) if unicodedata.ucd_3_2_0.category(chr(c)) != "Cn"]
    sample = [c for c in old if unicodedata.category(c) != "Cs"]
    for name in ("Lu", "Ll", "Lo", "Mn", "Nd", "Po", "Sm", "Zs", "Cc", "Co"):
        exact = Language(Grammar.regex(rf"\p{{{name}}}"))
        group = Language(Grammar.regex(rf"[^\P{{{name[0]}}}]"))
        for c in sample:
            category = unicodedata.category(c)
            assert (c in exact) == (category == name), hex(ord(c))
            assert (c in group) == (category[0] == name[0]), hex(ord(c))


def test_scripts_are_those_of_unicode() -> None:
    # By name, a letter of these scripts says which one it is of; the names of Unicode never change.
    scripts = {"Greek": "GREEK", "Cyrl": "CYRILLIC", "Hiragana": "HIRAGANA", "Thai": "THAI"}
    letters = [chr(c) for c in range(0, 0x10000, 7) if unicodedata.category(chr(c))[0] == "L"]
    for script, word in scripts.items():
        inside = Language(Grammar.regex(rf"\p{{Script={script}}}"))
        outside = Language(Grammar.regex(rf"\P{{sc={script}}}"))
        named = [c for c in letters if word in unicodedata.name(c, "").split()]
        assert named
        for c in letters[::29] + named:
            assert (c in inside) == (c in named), hex(ord(c))
            assert (c in outside) != (c in inside), hex(ord(c))
    assert "漢" in Language(Grammar.regex(r"\p{Script=Han}"))
    assert "\u3000" in Language(Grammar.regex(r"\p{sc=Zyyy}"))


@pytest.mark.parametrize(
    ("pattern", "reason", "at"),
    [
        ("ab(", "syntax", "offset 2"),
        ("é[z-a]", "syntax", "offset 2"),
        (r"(a)\1", "unsupported", "offset 3"),
        ("(?=a)*", "unsupported", "offset 0"),
        (r"\p{Script_Extensions=Greek}", "unsupported", "offset 0"),
    ],
)
def test_errors_name_the_place(pattern: str, reason: str, at: str) -> None:
    with pytest.raises(GrammarError) as caught:
        Language(Grammar.regex(pattern))
    assert caught.value.reason == reason
    assert at in str(caught.value)


HOSTILE = {
    "(a*)*": "(a*)*",
    "nested stars": "(" * 900 + "a" + ")*" * 900,
    "a{1,10^9}": "a{1,1000000000}",
    "nested counters": "(" * 50 + "a" + "{1,9})" * 50,
    "10^6 characters": "ab" * 500_000,
    "10^6 dots": "." * 1_000_000,
    "10^5 alternatives": "|".join(f"w{i}" for i in range(100_000)),
    "10^5 nested groups": "(" * 100_000 + "a" + ")" * 100_000,
    "30,000 optional in a row": "(a|)" * 30_000,
    "10^5 anchors": "(^|a)" * 100_000 + "a",
    "10^5 borders": r"\b" * 100_000 + "a",
    "borders between letters": r"a\b-" * 100_000,
    "10^5 alternatives of borders": r"(\ba|b\b)" * 20_000,
    "10^5 Unicode classes": r"\p{L}" * 100_000,
    "10^5 lookaheads": "(?=.*a)" * 100_000 + "a",
    "exponential determinisation": ".*a.{1000}b",
}


@pytest.mark.timeout(30)  # to catch blow-ups; the figures are in the benchmarks
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_patterns_end(name: str) -> None:
    with contextlib.suppress(LimitExceeded):  # success or this, within the time limit
        Language(Grammar.regex(HOSTILE[name])).begins("ab" * 50)
    assert "abc" in Language(Grammar.regex("[a-c]+"))
