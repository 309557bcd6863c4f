"""Whole tokens in EBNF, Lark and tags: every short sequence of tokens against a model over ids."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest

from treadle.errors import GrammarError
from treadle.grammar import Compiler, Grammar, Matcher, Vocab, mask_rows
from treadle.types import TokenKind, TokenTable

# Letters stand for tokens in the models below: T and U are control tokens, S ends the text.
TOKENS = {"a": b"a", "b": b"b", "c": b"ab", "<": b"<", "t": b"t", ">": b">", "d": b"t>a"}
CONTROL = {"T": b"<t>", "U": b"[U]", "S": b"</s>"}
LETTERS = "".join((*TOKENS, *CONTROL))


def _vocab(control: bool = True) -> Vocab:
    """`control` False: <t> and [U] are no tokens of it."""
    data = [*TOKENS.values(), *CONTROL.values()]
    kinds = [TokenKind.NORMAL] * len(TOKENS) + [TokenKind.CONTROL] * len(CONTROL)
    if not control:
        kinds[-3:-1] = [TokenKind.UNUSED] * 2
    return Vocab(TokenTable(tuple(data), tuple(kinds), stop_ids=(len(data) - 1,)))


WITH, WITHOUT = Compiler(_vocab()), Compiler(_vocab(control=False))


def _accepted(grammar: Grammar, compiler: Compiler, most: int) -> set[str]:
    """The sequences of at most `most` tokens that may end here; each step's mask says the same."""
    rows = mask_rows(1, len(LETTERS))
    out: set[str] = set()

    def walk(matcher: Matcher, read: str) -> None:
        try:
            matcher.fill(rows, 0)
        except GrammarError as error:
            if error.reason != "stuck":
                raise
            return  # no token spells the text that must follow
        mask = np.unpackbits(rows.array().view(np.uint8), bitorder="little")
        if matcher.accepting:
            out.add(read)
        for number, letter in enumerate(LETTERS[:-1]):
            fork = matcher.fork()
            taken = fork.accept(number)
            assert taken == mask[number], (read, letter)
            if taken and len(read) < most:
                walk(fork, read + letter)

    walk(compiler.compile(grammar).matcher(), "")
    return out


def _texts(pattern: str, most: int, letters: str = LETTERS[:-1]) -> set[str]:
    words = ("".join(w) for n in range(most + 1) for w in itertools.product(letters, repeat=n))
    return {word for word in words if re.fullmatch(pattern, word)}


@pytest.mark.parametrize(
    ("ebnf", "pattern"),
    [
        ('"a" <t> "b"', "aTb"),
        ('("ab" | <[7]>)* <[8]>?', "((ab|c)|T)*U?"),
        ("<[0-1,7]> <[^0-8]>*", "[abT]"),  # the stop token is never one of them
        ("!<t>", "[^T]"),
        ("!<[0-6,8]> | !<[^1]>", "[Tb]"),
        ('<[*]> "a"', ".a"),
        ('Token(7, "[U]") ExcludeToken("<t>", 0, 1) ', "[TU][^Tab]"),
        ("ExcludeToken()", "."),
        ('TokenTagDispatch((7, x), ("[U]", y), excludes=(2, 3))', "[^TUc<]*((Tb|Ua)[^TUc<]*)*"),
        ('TokenTagDispatch((7, x), loop_after_dispatch=false)', "[^T]*(Tb)?"),
        ('root <t> | "a"', "aT*"),
    ],
)  # fmt: skip
def test_ebnf(ebnf: str, pattern: str) -> None:
    grammar = Grammar.ebnf(f'root ::= {ebnf}\nx ::= "b"\ny ::= "a"')
    assert _accepted(grammar, WITH, 3) == _texts(pattern, 3)
    assert _accepted(Grammar.ebnf(str(grammar)), WITH, 3) == _texts(pattern, 3)


def test_lark_ignores_after_a_token_as_after_a_lexeme() -> None:
    grammar = Grammar.lark('start: <t> "b" <[8]>?\n%ignore "a"')
    assert _accepted(grammar, WITH, 4) == _texts("Ta*(b|c)a*(Ua*)?", 4)


def test_a_rule_may_hold_tokens_within_text() -> None:
    grammar = Grammar.lark("start: /[ab]*/ (<t> /b?/)* /a/")
    assert _accepted(grammar, WITH, 4) == _texts("[abc]*(Tb?)*a", 4)


def _tag(content: Any) -> Grammar:
    return Grammar.tag({"type": "structural_tag", "format": content})


def _string(text: str) -> dict[str, str]:
    return {"type": "const_string", "value": text}


CALL = {"type": "tag", "begin": "<t>", "content": _string("a"), "end": ["[U]b", "b"]}


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        (_string("a<t>"), "a(T|<t>)"),
        (_string("[U]<t>a"), "U(Ta|<(t>a|d))"),
        (_string("<x>"), "(?!)"),
    ],
)
def test_texts_of_a_tag_spell_special_tokens(content: Any, pattern: str) -> None:
    assert _accepted(_tag(content), WITH, 4) == _texts(pattern, 4)
    plain = {word for word in _texts(pattern, 4) if not set(word) & {"T", "U"}}
    assert _accepted(_tag(content), WITHOUT, 4) == plain


def test_tags_begin_and_end_by_tokens_or_letters() -> None:
    call = {**CALL, "end": ["[U]b", ">"]}
    for content in (call, {"type": "tags_with_separator", "separator": "a", "tags": [call],
                           "at_least_one": True, "stop_after_first": True}):  # fmt: skip
        found = _accepted(_tag(content), WITH, 6)
        assert found == _texts("(T|<t>)a(Ub|>)|<d(Ub|>)", 6, "abtTU<>d")
        assert _accepted(_tag(content), WITHOUT, 6) == {"<t>a>", "<d>"}


def test_free_text_ends_where_a_token_triggers() -> None:
    tags: dict[str, Any] = {"type": "triggered_tags", "triggers": ["<t>"], "tags": [
        {"type": "tag", "begin": "<t>", "content": _string("b"), "end": ""}]}  # fmt: skip
    free = "(?:(?!<t>|<d)[abct<>d])*"
    expected = _texts(f"{free}((?:T|<t>)b{free})*", 5, "abt<>dT")
    found = _accepted(_tag(tags), WITH, 5)
    assert {word for word in found if "c" not in word} == expected
    # The same where triggers overlap, and are looked for one by one.
    overlap = {
        **tags,
        "triggers": ["<t>", "t>a"],
        "tags": [
            *tags["tags"],
            {"type": "tag", "begin": "t>a", "content": _string("b"), "end": ""},
        ],
    }
    found = _accepted(_tag(overlap), WITH, 4)
    assert {"Tb", "aTb", "db", "adb", "<t>b", "TbTb", "abTb"} <= found
    assert not {"T", "aT", "U", "Ta", "d", "<t>"} & found


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        ({"type": "exclude_token", "exclude_tokens": [0, 1]}, "[^abU]"),
        ({"type": "star", "content": {"type": "exclude_token"}}, "[^U]*"),
        ({"type": "any_tokens", "max_tokens": 2}, "[^U]{0,2}"),
        ({"type": "any_tokens", "exclude_tokens": [0]}, "[^aU]*"),
        ({"type": "token", "token": 8}, "U"),  # what is named is meant
    ],
)
def test_tokens_right_inside_a_tag_are_not_its_end(content: Any, pattern: str) -> None:
    tag = {"type": "tag", "begin": "t", "content": content, "end": {"type": "token", "token": 8}}
    assert _accepted(_tag(tag), WITH, 4) == _texts(f"t{pattern}U", 4)


def test_an_end_that_is_a_stop_token_stays_text() -> None:
    found = _accepted(_tag(_string("a</s>")), WITH, 6)
    assert found == set()


@pytest.mark.parametrize(
    ("source", "reason", "word"),
    [
        ("<nothing>", "unsatisfiable", "<nothing>"),
        ("<[99]>", "unsatisfiable", "99"),
        ("<[3-1]>", "syntax", "token terminal"),
        ("<[0-4000000]>", "syntax", "1048576"),
        ("Token()", "syntax", "Token"),
        ("TokenTagDispatch((1, 2, 3))", "syntax", "TokenTagDispatch"),
    ],
)
def test_errors(source: str, reason: str, word: str) -> None:
    with pytest.raises(GrammarError) as caught:
        WITH.compile(Grammar.ebnf(f"root ::= {source}"))
    assert caught.value.reason == reason
    assert word in str(caught.value)


def test_captures_and_tokens_exclude_each_other() -> None:
    with pytest.raises(GrammarError, match="captures beside token") as caught:
        Grammar.lark("start: <t> v\nv[capture]: /a/")
    assert caught.value.reason == "unsupported"
    tag = {**CALL, "end": "b", "content": {
        "type": "grammar", "grammar": 'root ::= v\nv[capture] ::= "a"'}}  # fmt: skip
    matcher = WITH.compile(_tag(tag)).matcher()
    assert not matcher.accept(LETTERS.index("T"))
    assert matcher.accept_bytes(b"<t>ab")
    assert matcher.captures() == [("v", b"a")]
