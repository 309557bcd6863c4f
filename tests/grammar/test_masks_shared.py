"""What masks take over from others changes none of them.

Of a like state, of a string's usual rest, of lower and higher bounds. Every mask is compared with
single bytes, and with a compiler of its own.
"""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import pytest
import vocabularies
from test_masks import bits, brute

from treadle.grammar import Compiler, Grammar, Matcher, Vocab
from treadle.types import TokenTable

WORDS = ["a", "b", "ab", "abc", " ", " a", " ab", "a b", "name", "na", " x", "é", "日", "-", "\\n"]
ENDS = ['"', '":', '": ', '": "', '",', '", "', '"}', '"]', '" ', '"a', '":1,"', "<", "<a", "<ab>"]

SPELLINGS = [
    r"\u",
    r"\u00",
    r"\u0061",
    r"\u00E",
    r"\u00e9",
    r"9\u00e9b",
    r"\uD83D",
    r"\ud83d\u",
    r"\uDe0",
]
SPELLINGS += [
    r"\ud83d\uDE00",
    r"\/",
    r"\"",
    r"\"a",
    r"a\"",
    r"a\u0022",
    r'\u000a"',
    r'\n":',
    r'\"":',
    "😀",
    '😀"',
]


def texts() -> list[bytes]:
    """Enough tokens that end a string for what stands behind one to be looked up, and long ones."""
    rng = random.Random(5)
    out = {"".join(rng.choices(WORDS, k=rng.randrange(1, 5))) for _ in range(260)}
    out |= {word + end for word in sorted(out)[:120] for end in rng.sample(ENDS, 3)}
    for run in (" ", "a", "ab ", "-", "a b", "日", "\\n"):
        out |= {run * n for n in (2, 5, 9, 13, 25, 26, 33, 49, 60, 97) if len(run) * n < 120}
    out |= set(SPELLINGS)
    out |= {"01" * n + end for n in (1, 2, 3) for end in ("", ",", "e1", ", ", "]", ",a,")}
    return sorted(text.encode() for text in out)


TABLE: TokenTable = vocabularies.table(texts())
VOCAB = Vocab(TABLE)
TEXT = {i for i, kind in enumerate(TABLE.kinds) if int(kind) in (0, 2) and TABLE.data[i]}


def wordy(words: int, length: int, least: int = 0) -> Grammar:
    """A string of so many words."""
    pattern = rf"^(?:\S+\s+){{0,{words}}}\S+$"
    return Grammar.json_schema(
        {"type": "string", "pattern": pattern, "minLength": least, "maxLength": length}
    )


STRANGE: dict[str, object] = {'a"': {"const": 1}, "/é": {}, "éb": {}, "😀": {"const": 2}, "\n": {}}
NAMES = {"ab": {"const": "a"}, "abc": {"type": "string"}, "a b": {"type": "null"}, "é": {}}
TAG = {"begin": "<ab>", "content": {"type": "any_text"}, "end": "</a"}
CASES: dict[str, tuple[Grammar, bytes]] = {
    "open object": (
        Grammar.json_schema({"properties": NAMES}),
        b'{"ab": "a", "abd":1,"ab\\u0063":',
    ),
    "patterned names": (
        Grammar.json_schema(
            {"properties": NAMES, "patternProperties": {"^a": {"type": ["string", "null"]}}}
        ),
        b'{"ab":"a" ,"a bc": "", "n":1}',
    ),
    "shaped names": (
        Grammar.json_schema({"properties": NAMES, "propertyNames": {"pattern": "^[a-c ]{1,30}$"}}),
        b'{"abc": "a b", "aab',
    ),
    "excluded names": (
        Grammar.json_schema(
            {
                "propertyNames": {"not": {"pattern": "^ab? "}},
                "properties": NAMES,
                "maxProperties": 3,
            }
        ),
        b'{"abx": [], "a": "',
    ),
    "one key left": (
        Grammar.json_schema({"properties": {"ab": {}, "b": {}}, "additionalProperties": False}),
        b'{ "ab": "x", "b": 1 }',
    ),
    "spelled names": (
        Grammar.json_schema({"properties": STRANGE, "additionalProperties": False}),
        rb'{"a\u0022":1, "\uD83D\ude00": 2, "\/\u00e9":1,"\n":2}',
    ),
    "other names that are spelled": (
        Grammar.json_schema({"properties": STRANGE}),
        rb'{"a\"b":1, "\u000Ab": 2, "\uD83d\ude00b',
    ),
    "the last spelled name": (
        Grammar.json_schema(
            {"properties": {'a"': {"const": 2}}, "required": ['a"'], "additionalProperties": False}
        ),
        rb'{  "a\u0022": 2}',
    ),
    "excluded values": (
        Grammar.json_schema({"type": "string", "not": {"enum": ["a", "ab", "ab abc"]}}),
        b'"ab abc-"',
    ),
    "a rest that begins like the loop": (
        Grammar.regex('[ab ]{0,40}ab[ab ]*("[a ]*)*x'),
        b'a ab b"a',
    ),
    "an end inside an end": (Grammar.regex('([a-z ]*"){2,9}[^"]*(":"|", ")*'), b'a b"" x"":"'),
    "a string behind a string": (
        Grammar.json_schema({"items": {"type": "string", "maxLength": 30}, "type": "array"}),
        b'["ab a", "' + b"a" * 27 + b'"',
    ),
    "free text": (
        Grammar.tag(
            {
                "type": "triggered_tags",
                "triggers": ["<a"],
                "tags": [TAG],
                "excludes": ["ba-", "日é"],
            }
        ),
        "ab b日a<ab> x</a n<".encode(),
    ),
    "words": (wordy(19, 200), b'"ab a-b  abc x a b c d'),
    "few words": (wordy(3, 60), b'"ab a-b  abc x'),
    "short": (wordy(9, 40), b'"a b c ab na x'),
    "bounded below": (wordy(12, 100, 30), b'"a b c ab na x ab'),
    "a rest that may be empty": (
        Grammar.json_schema({"items": {"type": "number"}}),
        b"[0.43, 12e1,3",
    ),
    "text that must not come": (
        Grammar.json_schema(
            {
                "type": "string",
                "pattern": r"^(?!.*b a)(?=.{1,255}$)((.{1,63}\.){1,127}(?![0-9]*$)[a-z0-9-]+\.?)$",
            }
        ),
        b'"a b.. ab.a',
    ),
    "many short words": (
        Grammar.regex(r"(?=.{1,70}$)([a-z]{1,30}[ -]){1,40}(?!a)[a-b ]+x"),
        b"ab a-x a ab na x ",
    ),
}


@cache
def common() -> Compiler:
    return Compiler(VOCAB)


def check(matcher: Matcher, alone: Matcher, at: bytes) -> None:
    mask = bits(matcher, len(TABLE.data))
    wrong = np.flatnonzero(mask != brute(matcher, VOCAB, TABLE.data, TEXT))
    assert not wrong.size, (at, [TABLE.data[i] for i in wrong[:5]])
    assert (mask == bits(alone, len(TABLE.data))).all(), at


@pytest.mark.parametrize("name", CASES)
def test_mask_is_brute_force(name: str) -> None:
    grammar, text = CASES[name]
    matcher, alone = common().compile(grammar).matcher(), Compiler(VOCAB).compile(grammar)
    other = alone.matcher()
    check(matcher, other, b"")
    for i in range(len(text)):
        assert matcher.accept_bytes(text[i : i + 1]), text[: i + 1]
        assert other.accept_bytes(text[i : i + 1])
        if (text[: i + 1]).decode(errors="ignore").encode() == text[: i + 1]:
            check(matcher, other, text[: i + 1])
