"""`suffix` of rules: the shortest text that ends with it, and a capture without it."""

from __future__ import annotations

import itertools
import re

import pytest
from byte_matcher import _COMPILER as COMPILER
from byte_matcher import Language

from treadle.errors import GrammarError
from treadle.grammar import Grammar

BODIES = ["[ab]*", "a*", "(a|ab)*b?", "[ab]{2}", "b+a?", "(ab)*", "a?"]
SUFFIXES = ["a", "ab", "aa", "aba", "bb"]


def _shortest(body: str, suffix: str, text: str) -> bool:
    whole = f"(?:{body}){suffix}"
    ends = [n for n in range(len(text) + 1) if re.fullmatch(whole, text[:n])]
    return ends[:1] == [len(text)]


def _words(most: int) -> list[str]:
    return ["".join(w) for n in range(most + 1) for w in itertools.product("ab", repeat=n)]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("body", BODIES)
def test_the_rule_ends_where_its_suffix_first_does(body: str, suffix: str) -> None:
    options = f'capture="v", suffix="{suffix}", stop_capture="s"'
    lark = Grammar.lark(f'start: r "!"\nr[{options}]: /{body}/')
    ebnf = Grammar.ebnf(f'root ::= r "!"\nr[{options}] ::= Regex("{body}")')
    bare = Language(Grammar.lark(f'start: r "!"\nr[suffix="{suffix}"]: /{body}/'))
    regex = Language(Grammar.lark(f'start: r "!"\nr[suffix=/{suffix}/]: /{body}/'))
    name = Language(Grammar.lark(f'start: r "!"\nr[suffix=S]: /{body}/\nS: "{suffix}"'))
    languages = [Language(lark), Language(ebnf), bare, regex, name]
    for text in _words(7):
        expected = _shortest(body, suffix, text)
        assert [text + "!" in language for language in languages] == [expected] * 5, text
        if not expected:
            continue
        for grammar in (lark, ebnf):
            matcher = COMPILER.compile(grammar).matcher()
            assert matcher.accept_bytes(text.encode() + b"!")
            inner = text[: len(text) - len(suffix)].encode()
            assert sorted(matcher.captures()) == [("s", suffix.encode()), ("v", inner)]


def test_a_suffix_is_text_of_the_rules_around() -> None:
    grammar = Grammar.lark(
        'start: outer "b"\nouter[capture]: r\nr[capture, suffix="\\n</x>"]: /(.|\\n)*/'
    )
    matcher = COMPILER.compile(grammar).matcher()
    assert matcher.accept_bytes(b"a</x\n</x>b")
    assert matcher.captures() == [("r", b"a</x"), ("outer", b"a</x\n</x>")]


def test_budgets_count_what_stands_before_the_suffix() -> None:
    language = Language(Grammar.lark('start: r "."\nr[max_chars=2, suffix="b"]: /a*/'))
    assert [f"{'a' * n}b." in language for n in range(5)] == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("options", "reason", "word"),
    [
        ('stop="b"', "unsupported", "suffix"),
        ('stop_capture="s"', "syntax", "add suffix"),
        ('suffix=""', "syntax", "suffix"),
        ("suffix=b", "syntax", "/regex/"),
        ("suffix=/(/", "syntax", ""),
        ("capture, suffix=/b/", "unsupported", "quotes"),
        ('stop_capture="s", suffix=B', "unsupported", "quotes"),
    ],
)
def test_what_is_refused(options: str, reason: str, word: str) -> None:
    with pytest.raises(GrammarError) as caught:
        Grammar.lark(f'start: r\nr[{options}]: /a*/\nB: "b"')
    assert (caught.value.reason, caught.value.at.split()[0]) == (reason, "2:2")
    assert word in str(caught.value)
