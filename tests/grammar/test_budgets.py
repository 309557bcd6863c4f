"""Rule options that shape a text: lazy, max_chars, max_tokens, temperature; against brute force."""

from __future__ import annotations

import itertools
import random
import re
from functools import cache

import numpy as np
import pytest
from byte_matcher import Language

from treadle.errors import GrammarError
from treadle.grammar import Compiler, Grammar, Matcher, Vocab, mask_rows
from treadle.types import TokenKind, TokenTable

TEXTS = [
    "<",
    ">",
    "a",
    "b",
    "c",
    "ac",
    "bc",
    "aca",
    "c>",
    "<a",
    "acbc>",
    "<ac",
    "ab",
    "><",
    "cb",
    "abc",
]
TABLE = TokenTable(
    data=(*(text.encode() for text in TEXTS), b"</s>"),
    kinds=(TokenKind.NORMAL,) * len(TEXTS) + (TokenKind.CONTROL,),
    stop_ids=(len(TEXTS),),
)
VOCAB = Vocab(TABLE)
COMPILER = Compiler(VOCAB)
BODIES = ["[ab]*", "([ab]c)*", "a+|b", "(ab|abc)c?", "[ab]{2,4}", "(a|bc)+", "a?b*c", "b|(ab)*a"]


def words(alphabet: str, most: int) -> list[str]:
    return ["".join(w) for n in range(most + 1) for w in itertools.product(alphabet, repeat=n)]


def ends_early(body: str, text: str, from_size: int) -> bool:
    """Whether a proper prefix of at least that size is a text of `body`."""
    return any(re.fullmatch(body, text[:n]) for n in range(from_size, len(text)))


@pytest.mark.parametrize("body", BODIES)
def test_lazy_rules_end_where_they_may(body: str) -> None:
    language = Language(Grammar.ebnf(f'root ::= r "!"\nr[lazy] ::= Regex("{body}")'))
    lark = Language(Grammar.lark(f'start: r "!"\nr[lazy]: /{body}/'))
    for text in words("abc", 5):
        expected = bool(re.fullmatch(body, text)) and not ends_early(body, text, 0)
        assert (text + "!" in language) == expected
        assert (text + "!" in lark) == expected


@pytest.mark.parametrize("most", [0, 1, 2, 3])
def test_characters_are_counted_and_the_rest_is_lazy(most: int) -> None:
    for body in [*(body.replace("c", "é") for body in BODIES), "é(a|日)*é", "[^b]*"]:
        source = f'root ::= r "!"\nr[max_chars={most}] ::= Regex("{body}")'
        language = Language(Grammar.ebnf(source))
        for text in words("aé日", 4):
            expected = bool(re.fullmatch(body, text)) and not ends_early(body, text, most)
            assert (text + "!" in language) == expected, (body, text)


@cache
def contents(body: str) -> list[str]:
    return [w for w in words("abc", 9) if re.fullmatch(body, w)]


def model(body: str, most: int, tokens: list[str], text: str) -> bool:
    """Whether the text can go on after these tokens: `<`, a body of at most `most` tokens, `>`."""
    begun, at = 0, 0
    closes = None  # size of the body from which it has to end
    for token in tokens:
        if at > 0 and ">" not in text[:at]:
            begun += 1
        at += len(token)
        if begun == most and closes is None and ">" not in text[:at]:
            closes = at - 1
    return any(
        f"<{c}>".startswith(text) and not (closes is not None and ends_early(body, c, closes))
        for c in contents(body)
    )


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("body", ["[ab]*", "([ab]c)*", "(a|bc)+"])
def test_tokens_begun_inside_are_counted(body: str, most: int) -> None:
    grammar = Grammar.ebnf(f'root ::= "<" r ">"\nr[max_tokens={most}] ::= Regex("{body}")')
    compiled = COMPILER.compile(grammar)
    rng = random.Random(most)
    closed = 0
    for _ in range(25):
        matcher = compiled.matcher()
        taken: list[str] = []
        for _ in range(7):
            text = "".join(taken)
            closed += text.endswith(">")
            legal = legal_tokens(matcher)
            for i, token in enumerate(TEXTS):
                if len(text) + len(token) > 8:
                    continue
                assert (i in legal) == model(body, most, taken, text + token)
            options = [i for i in legal if i < len(TEXTS) and len(text) + len(TEXTS[i]) <= 8]
            if not options:
                break
            pick = rng.choice(options)
            assert matcher.accept(pick)
            taken.append(TEXTS[pick])
    assert closed > 3


def legal_tokens(matcher: Matcher) -> list[int]:
    rows = mask_rows(1, VOCAB.size)
    matcher.fill(rows, 0)
    bits = int(rows.array()[0, 0]) & 0xFFFFFFFF
    return [i for i in range(VOCAB.size) if bits >> i & 1]


SOURCE = 'root ::= (r ">")*\nr[max_tokens=2, temperature=0.5] ::= w "c"?\nw ::= [ab]+'


def test_budgets_go_back_with_the_text() -> None:
    """Forks, rollbacks, validate and draft trees agree with a matcher that goes there directly."""
    compiled = COMPILER.compile(Grammar.ebnf(SOURCE))
    rng = random.Random(6)
    for _ in range(40):
        matcher = compiled.matcher()
        taken: list[int] = []
        for _ in range(12):
            if taken and rng.random() < 0.3:
                steps = rng.randrange(len(taken) + 1)
                matcher.rollback(steps)
                del taken[len(taken) - steps :]
            options = [t for t in legal_tokens(matcher) if t < len(TEXTS)]
            pick = rng.choice(options) if options else 0
            twin = matcher.fork()
            accepted = twin.accept(pick)
            assert matcher.validate_tokens([pick, pick]) >= accepted
            rows = mask_rows(2, VOCAB.size)
            warm = np.zeros(2, dtype=np.float32)
            assert matcher.fill_tree([1, -1], [-1, -1], [0, pick], rows, None, warm)
            expected = legal_tokens(twin) if accepted else []
            bits = int(rows.array()[1, 0]) & 0xFFFFFFFF
            assert [i for i in range(VOCAB.size) if bits >> i & 1] == expected
            if accepted:
                assert warm[1] == pytest.approx(-1.0 if twin.temperature is None else 0.5)
                assert matcher.accept(pick)
                taken.append(pick)
            direct = compiled.matcher()
            assert all(direct.accept(token) for token in taken)
            assert legal_tokens(direct) == legal_tokens(matcher)


def test_texts_spend_no_tokens() -> None:
    compiled = COMPILER.compile(Grammar.ebnf('root ::= r ">"\nr[max_tokens=1] ::= [ab]*'))
    matcher = compiled.matcher()
    assert matcher.accept_bytes(b"abab")
    assert matcher.accept(TEXTS.index("ab"))
    assert not matcher.accept(TEXTS.index("a"))
    assert matcher.accept(TEXTS.index(">"))
    assert compiled.matcher().validate_tokens([2, 2]) == 1


def test_each_occurrence_has_its_own_budget() -> None:
    compiled = COMPILER.compile(Grammar.ebnf(SOURCE))
    matcher = compiled.matcher()
    a, close = TEXTS.index("a"), TEXTS.index(">")
    for _ in range(3):
        assert matcher.accept(a)
        assert matcher.accept(a)
        assert not matcher.accept(a)
        assert matcher.accept(close)


def test_temperatures_are_those_of_the_innermost_rule() -> None:
    rules = 'root ::= "<" r ">" "a"\nr[temperature=0.5] ::= "a" q "c"\nq[temperature=0] ::= "b"+'
    matcher = COMPILER.compile(Grammar.ebnf(rules)).matcher()
    seen = []
    for byte in b"<abbc>a":
        seen.append(matcher.temperature)
        assert matcher.accept_bytes(bytes([byte]))
    assert seen == [None, 0.5, 0.5, 0.0, 0.0, None, None]
    assert matcher.temperature is None


def test_tags_bound_their_text() -> None:
    tag = {
        "type": "tag",
        "begin": "<",
        "content": {"type": "any_text", "max_tokens": 2},
        "end": ">",
    }
    matcher = COMPILER.compile(Grammar.tag(tag)).matcher()
    assert matcher.accept(TEXTS.index("<"))
    assert matcher.accept(TEXTS.index("ab"))
    assert matcher.accept(TEXTS.index("abc"))
    assert legal_tokens(matcher) == [TEXTS.index(">")]
    none = {"type": "any_text", "max_tokens": 0}
    assert legal_tokens(COMPILER.compile(Grammar.tag(none)).matcher()) == [len(TEXTS)]


@pytest.mark.parametrize(
    ("text", "reason", "words_"),
    [
        ("r[max_tokens=0] ::= [a]", "syntax", "max_tokens"),
        ("r[max_tokens=3, max_tokens=4] ::= [a]", "syntax", "twice"),
        ("r[temperature=hot] ::= [a]", "syntax", "temperature"),
        ('r[capture="a b"] ::= [a]', "syntax", "capture"),
        ("r[nothing] ::= [a]", "syntax", "nothing"),
        ('r[stop="x"] ::= [a]', "unsupported", "suffix"),
        ("r[lazy] ::= [a] r?", "unsupported", "holds itself"),
        ("r[max_tokens=3] ::= q\nq ::= [a] q?", "unsupported", "recursion"),
        ("r[lazy] ::= q\nq[max_chars=3] ::= r | [a]", "unsupported", "holds itself"),
    ],
)
def test_what_options_refuse(text: str, reason: str, words_: str) -> None:
    with pytest.raises(GrammarError, match=words_) as caught:
        Grammar.ebnf(f"root ::= r\n{text}")
    assert caught.value.reason == reason


def test_lark_options_refuse_terminals_and_values() -> None:
    with pytest.raises(GrammarError, match="lower-case"):
        Grammar.lark("start: A\nA[lazy]: /a+/")
    with pytest.raises(GrammarError, match="JSON values"):
        Grammar.lark("start: r\nr[max_tokens=3]: %json {}")


def test_ignored_text_comes_after_a_shaped_rule() -> None:
    rules = 'start: r "b"\nr[lazy]: "a" "a"?\n%ignore " "'
    language = Language(Grammar.lark(rules))
    assert "a  b" in language
    assert "ab" in language
    assert "a a b" not in language
