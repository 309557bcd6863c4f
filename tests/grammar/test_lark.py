"""Lark: random grammars against the `lark` package and against EBNF, sample grammars, errors."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import pytest
from byte_matcher import Language
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from treadle.errors import GrammarError, LimitExceeded
from treadle.grammar import Grammar

DATA = Path(__file__).parent / "data"
TEXTS = ["".join(t) for n in range(5) for t in itertools.product("ab ", repeat=n)]


def _language(text: str, start: str = "start") -> Language:
    return Language(Grammar.lark(text, start))


def _maybe(text: str) -> Language | None:
    """None for a grammar that no text satisfies."""
    try:
        return _language(text)
    except GrammarError as error:
        if error.reason != "unsatisfiable":
            raise
        return None


# Random grammars in the common part of the dialects. Lark takes no empty terminals.
terminals = st.sampled_from(
    [
        '"a"',
        '"b"',
        '"ab"',
        '"B"i',
        '"a".."b"',
        "/[ab]/",
        "/a+/",
        "/b{1,2}/",
        '"a" "b"?',
        '("a"|"ba")+',
    ]
)
operators = st.sampled_from(["", "", "", "?", "*", "+", "~2", "~1..2"])
atoms = st.sampled_from(['"a"', '"b"', '"A"i', "/b+/", "X", "Y", "x", "y"])


def _expression(
    atom: st.SearchStrategy[str], optional: st.SearchStrategy[str] | None = None
) -> st.SearchStrategy[str]:
    item = st.tuples(atom, operators).map("".join)
    if optional is not None:  # lark repeats no [...]
        item |= optional.map("[{}]".format)
    branch = st.lists(item, min_size=1, max_size=2).map(" ".join)
    return st.lists(branch, min_size=1, max_size=2).map(" | ".join)


expressions = _expression(atoms | _expression(atoms).map("({})".format), _expression(atoms))
grammars = st.builds(
    "start: {}\nx: {}\n?y.2: {}\nX: {}\nY: {}\n{}".format,
    expressions, expressions, expressions, terminals, terminals,
    st.sampled_from(["", '%ignore " "', '%ignore / +/\n%ignore "b "']),
)  # fmt: skip


@settings(max_examples=40)
@given(grammars, st.integers(0, 4))
def test_random_grammars_agree_with_lark(text: str, start: int) -> None:
    lark = pytest.importorskip("lark")
    language = _maybe(text)
    try:
        oracle = lark.Lark(text, parser="earley", lexer="dynamic_complete")
    except lark.exceptions.GrammarError:  # two alternatives that expand to the same
        assume(False)
    for sample in TEXTS[start::5]:
        if sample.startswith(("b ", " ")):
            continue  # lark also ignores before the first lexeme
        try:
            oracle.parse(sample)
            wanted = True
        except lark.exceptions.LarkError:
            wanted = False
        except RuntimeError:  # an internal error of its Earley parser, met with [...] and %ignore
            continue
        with contextlib.suppress(LimitExceeded):
            assert (language is not None and sample in language) == wanted, (sample, text)


pieces = st.lists(st.sampled_from(["a", "b", "ab", "x", "y"]), max_size=3)
rules = st.fixed_dictionaries(
    {name: st.lists(pieces, min_size=1, max_size=3) for name in ("start", "x", "y")}
)


@settings(max_examples=120)
@given(rules)
def test_the_same_grammar_in_ebnf(rules: dict[str, list[list[str]]]) -> None:
    def printed(separator: str) -> str:
        def body(parts: list[str]) -> str:
            return " ".join(p if p in ("x", "y") else f'"{p}"' for p in parts) or '""'

        return "\n".join(f"{n} {separator} " + " | ".join(map(body, a)) for n, a in rules.items())

    lark = _maybe(printed(":"))
    if lark is None:
        with pytest.raises(GrammarError, match="finish"):
            Grammar.ebnf(printed("::="), root="start")
        return
    ebnf = Language(Grammar.ebnf(printed("::="), root="start"))
    with contextlib.suppress(LimitExceeded):
        for sample in TEXTS:
            assert (sample in lark) == (sample in ebnf), sample


def test_sql() -> None:
    language = _language((DATA / "sql.lark").read_text())
    for text in (
        "SELECT * FROM users",
        "select a, b + 1 as total from t where a >= 3 and not b is null;",
        "SELECT u.name, count(*) FROM users AS u LEFT JOIN orders o ON u.id = o.user_id\n"
        "WHERE o.price * 2 > 10.5 -- a comment\nORDER BY name DESC LIMIT 10",
        "select 'it''s' from t where (a = 'x' or b <> 2)",
        "select selected from fromage",
    ):
        assert text in language, text
    for text in (
        "SELECT FROM users",
        "select a from",
        "select select from t",
        " select a from t",
        "select a from t where a",
        "select 'x from t",
        "select a from t limit 1.5",
        "drop table t",
    ):
        assert text not in language, text
    assert language.begins("select a from t wh")
    assert not language.begins("select a from t x group")


def test_code_fences() -> None:
    language = _language((DATA / "fence.lark").read_text())
    block = '```json\n{"answer": 42}\n```'
    for text in ("", "hello", f"See:\n{block}\nand `x`.", f"{block}{block}", "```py\nx = 1\n```"):
        assert text in language, text
    for text in ("```", '```json\n{"answer": "x"}\n```', "```py\nx```", f"a ``{block}", "a ```x"):
        assert text not in language, text


def test_terminals() -> None:
    language = _language(
        r"""
        start: ANY_CASE "x".."z" "\u00e9\x41" /[\w-]+\d/ ["?"] -> one
             | NAME WORDS+ // a comment
             | "#" /./s "(" /[^)\/]*/ ")"  # another
        ANY_CASE: "straße"i
        NAME: /[a-z]+/ & ~KEYWORD & ~(/.*/ "x")
        KEYWORD: "if" | "else"
        WORDS: %regex {"substring_words": " foo bar. baz"}
        """
    )
    for text in ("STRAßEyéAü-٣", "straßeyéA12?", "iff foo bar bar", "#\n()", "#)(a b)"):
        assert text in language, text
    for text in ("straßewéA1", "if foo", "ax foo", "iff oo", "#a(/)", "straßeyéAü-"):
        assert text not in language, text


def test_unicode_classes_and_the_dot() -> None:
    language = _language(r"start: /\w\s./")
    assert "é\u00a0\r" in language
    assert "\u0661\u2028\u2028" in language
    for text in ("a \n", "- x", "axx"):
        assert text not in language


def test_negation_is_text() -> None:
    language = _language('start: A\nA: ~"a"')
    for text in ("", "b", "aa", "é"):
        assert text in language
    for text in ("a", b"\xff", b"\xc3"):
        assert text not in language


def test_ignored_text_follows_lexemes() -> None:
    rules = 'start: A* "b" A?\nA: "a" "c"?\n%ignore " "\n%ignore "_" '
    language = _language(rules)
    for text in ("b", "a  ac _b a ", "b_ _"):
        assert text in language
    for text in (" b", "a cb", "_"):
        assert text not in language
    first = _language('%llguidance {"allow_initial_skip": true}\n' + rules)
    assert " _ab" in first
    once = _language('%grammar_options {"ignore_once": true}\n' + rules)
    assert "a b" in once
    assert "a  b" not in once


def test_embedded_grammars() -> None:
    schema = {"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": False}
    text = """
        start: @call (%lark {
            start: WORD+
            WORD: /[a-z]+/
            %ignore "-"
        } "!")? @digits
        """
    grammar = Grammar.lark(text, grammars={"call": schema, "digits": "start: /[0-9]/ ~ 2"})
    language = Language(grammar)
    for sample in ('{"a": 1}12', "{}ab-c-!34"):
        assert sample in language
    for sample in ('{"a": 2}12', "{}-ab!34", "{}ab!3"):
        assert sample not in language
    nested = _language("start: " + '%lark { start: "x" ' * 50 + "}" * 50)
    assert "x" * 50 in nested


PERMUTATION = """
start: item::0x0
item::_: "" %if is_ones([0:3])
       | "a" item::set_bit(0) %if bit_clear(0)
       | "b" item::set_bit(1) %if and(bit_clear(1), not(bit_set(1)))
       | "c" item::bit_or(4)  %if eq([2:3], 0)
"""
BOUNDED = """
start: list::0
list::_: "a" list::incr([0:3]) %if lt([0:3], 2)
       | "b" list::incr([3:6]) %if bit_count_lt([3:6], 1)
       | ""
"""


def test_parameters() -> None:
    language = _language(PERMUTATION)
    words = ["".join(t) for n in range(5) for t in itertools.product("abc", repeat=n)]
    assert [w for w in words if w in language] == [
        "".join(t) for t in itertools.permutations("abc")
    ]
    bounded = _language(BOUNDED)
    for word in ("".join(t) for n in range(6) for t in itertools.product("ab", repeat=n)):
        assert (word in bounded) == (word.count("a") <= 2 and word.count("b") <= 1), word


LLGUIDANCE = [
    (PERMUTATION, ["abc", "cab", "ab", "abca", ""]),
    (BOUNDED, ["aab", "aaa", "ba", "bb", ""]),
    ((DATA / "sql.lark").read_text().replace("[where]", "where?"), ["select a from t", "select a"]),
    ('start: A+\nA: "x" & ~"y"{2}', ["x", "xx", "xy"]),
    ('start: %regex {"substring_words": "a b.. c_1"}', ["a b", " b..", "..", ".", " c_1", "c"]),
    ('start: %regex {"substring_chars": "abab"}', ["", "ba", "abab", "aa"]),
    ('start: "a" %json {"type": "integer"} "b"', ["a12b", "a-1b", "ab", "axb"]),
]


@pytest.mark.parametrize(("text", "samples"), LLGUIDANCE)
def test_samples_agree_with_llguidance(text: str, samples: list[str]) -> None:
    llguidance = pytest.importorskip("llguidance")
    language = _language(text)
    tokenizer = llguidance.LLTokenizer("byte")
    for sample in samples:
        matcher = llguidance.LLMatcher(tokenizer, llguidance.grammar_from("lark", text))
        assert not matcher.is_error(), matcher.get_error()
        data = list(sample.encode())
        wanted = matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()
        assert (sample in language) == wanted, sample


@pytest.mark.parametrize(
    ("text", "reason", "at", "word"),
    [
        ('start: "a" x\n', "syntax", "1:12", "x"),
        ('start: "a"\nstart: "b"', "syntax", "2:1", "1:1"),
        ('x: "a"', "syntax", "1:1", "start"),
        ('start: ("é" | "a"', "syntax", "1:8", "closed"),
        ('start: "é" )', "syntax", "1:12", ""),
        ('start: "a" | ~', "syntax", "1:15", "missing"),
        ('start: "a" b: "c"', "syntax", "1:13", ""),
        ("start: A\nA: b\nb: /c/", "syntax", "2:4", "upper-case"),
        ('start: A\nA: "x" A', "unsupported", "2:1", "itself"),
        ('start: "a" & "b"', "unsupported", "1:6", "terminal"),
        ("start: /a(?!b)/", "unsupported", "1:8 offset 1", "~KEYWORD"),
        ("start: /^a$/", "unsupported", "1:8 offset 0", "anchor"),
        ("start: /[a&&b]/", "unsupported", "1:8 offset 2", "set"),
        ('start[stop="b"]: "a"', "unsupported", "1:6", "suffix"),
        ('start[lazi]: "a"', "syntax", "1:6", "lazi"),
        ("start: <|eom|>", "unsatisfiable", None, "<|eom|>"),
        ("start: <[1-]>", "syntax", "1:8", "token"),
        ('start: x{"a"}', "unsupported", "1:9", "template"),
        ("%declare X\nstart: X", "unsupported", "1:1", "declare"),
        ("%import python.X\nstart: X", "unsupported", "1:9", "common"),
        ("%import common.FOO\nstart: FOO", "syntax", "1:16", "common.FOO"),
        ('start: %json {"type": "foo"}', "syntax", "1:8 /type", "foo"),
        ('start: %json {"uniqueItems": true}', "unsupported", "1:8 /uniqueItems", ""),
        ("start: %lark { start: x }", "syntax", "1:23", "x"),
        ('start: %lark { x: "a" }', "syntax", "1:8", "start"),
        ("start: @x", "syntax", "1:8", "x"),
        ("start: @other", "syntax", "@other 1:8", "b"),
        ('start: "a" start', "unsatisfiable", "1:1", "finish"),
        ('start: p::1\np: "a"', "syntax", "1:8", "parameter"),
        ('start: p\np::_: "a"', "syntax", "1:8", "parameter"),
        ('start: "a" %if bit_set(3)', "syntax", "1:6", "parameter"),
        ('%llguidance {"x": true}\nstart: "a"', "unsupported", "1:1", "x"),
    ],
)
def test_errors_name_the_place(text: str, reason: str, at: str | None, word: str) -> None:
    with pytest.raises(GrammarError) as caught:
        Language(Grammar.lark(text, grammars={"other": "start: b"}))
    assert (caught.value.reason, caught.value.at) == (reason, at), caught.value
    assert word in str(caught.value)


@pytest.mark.timeout(60)
def test_hostile_grammars_end() -> None:
    sources = [
        "start: " + "(" * 100_000,
        "start: " + "%lark { start: " * 100_000,
        "start: " + "|".join(f'"w{i}"' for i in range(100_000)),
        "start: A0\n" + "\n".join(f'A{i}: A{i + 1} "x"' for i in range(20_000)) + '\nA20000: "y"',
        "start: A0\n" + "\n".join(f"A{i}: A{i + 1} A{i + 1}" for i in range(60)) + '\nA60: "y"',
        "start: p::0\np::_: p::incr(_) | /a/",
        "start: p::0\np::_: " + "not(" * 100_000,
        "start: p::0\np::_: /a/ %if " + "not(" * 100_000,
        "start: " + "~" * 100_000 + '"a"',
        'start: %regex {"substring_chars": "' + "ab" * 50_000 + '"}',
        'start: %regex {"substring_chars": "' + "a" * 100_000 + '"}',
        "start: (/a{1,1000000000}/){1,1000000000} start?",
        "start: " + '["a"] ' * 2_000,
    ]
    for source in sources:
        with contextlib.suppress(LimitExceeded, GrammarError):  # or success, within the time limit
            _language(source).begins("ab" * 20)
    assert "a" in _language('start: "a"')
