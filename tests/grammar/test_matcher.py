"""History, forks, forced text and stop tokens."""

from __future__ import annotations

import random

import pytest
import vocabularies

from treadle.errors import InvalidRequest
from treadle.grammar import Compiler, Grammar, Matcher, Vocab, mask_rows

TABLE = vocabularies.small()
VOCAB = Vocab(TABLE)
STOP = TABLE.stop_ids[0]
COMPILER = Compiler(VOCAB)


def row(matcher: Matcher) -> bytes:
    rows = mask_rows(1, VOCAB.size)
    matcher.fill(rows, 0)
    return bytes(memoryview(rows))


def test_history_is_a_stack() -> None:
    """Any mix of accepts, forks, rollbacks and resets agrees with a list of masks."""
    compiled = COMPILER.compile(Grammar.json())
    rng = random.Random(3)
    live = [(compiled.matcher(), [b""])]
    live[0][1][0] = row(live[0][0])
    for _ in range(400):
        pick = rng.randrange(len(live))
        matcher, masks = live[pick]
        move = rng.random()
        if move < 0.7:
            token = rng.randrange(VOCAB.size - 1)
            if token != STOP and matcher.accept(token):
                masks.append(row(matcher))
        elif move < 0.8 and len(live) < 12:
            live.append((matcher.fork(), list(masks)))
        elif move < 0.98:
            steps = rng.randrange(len(masks))
            matcher.rollback(steps)
            del masks[len(masks) - steps :]
        else:
            matcher.reset()
            del masks[1:]
        for other, expected in live:
            assert other.steps == len(expected) - 1
        assert row(matcher) == masks[-1]
    for matcher, masks in live:
        assert row(matcher) == masks[-1]


def test_rollback_past_the_start_is_refused() -> None:
    matcher = COMPILER.compile(Grammar.literal("abc")).matcher()
    assert matcher.accept_bytes(b"ab")
    with pytest.raises(InvalidRequest, match="2 steps asked for, 1 were taken"):
        matcher.rollback(2)
    with pytest.raises(InvalidRequest):
        matcher.rollback(-1)
    assert matcher.forced() == b"c"


def test_stop_tokens() -> None:
    matcher = COMPILER.compile(Grammar.choice(["ab", "abab"])).matcher()
    assert not matcher.accept(STOP)
    assert matcher.accept_bytes(b"ab")
    assert matcher.accepting
    assert matcher.accept(STOP)
    assert matcher.finished
    for token in (STOP, 0, -1, 10**12):
        assert not matcher.accept(token)
    assert not matcher.accept_bytes(b"a")
    matcher.rollback(1)
    assert not matcher.finished
    assert matcher.accept_bytes(b"ab")


def test_own_stop_tokens() -> None:
    """A matcher's own stop tokens replace the vocabulary's, even where they are text."""
    compiled = COMPILER.compile(Grammar.regex("a*"))
    a = TABLE.data.index(b"a")
    matcher = compiled.matcher(stop_tokens=[a])
    assert matcher.accept(a)
    assert matcher.finished
    assert not compiled.matcher(stop_tokens=[]).accept(STOP)
    with pytest.raises(InvalidRequest):
        compiled.matcher(stop_tokens=[10**6])


def test_forced_text_is_the_only_one() -> None:
    schema = {
        "type": "object",
        "properties": {"kind": {"const": "circle"}, "r": {"type": "integer"}},
        "required": ["kind", "r"],
        "additionalProperties": False,
    }
    matcher = COMPILER.compile(
        Grammar.json_schema(schema, order="declared", whitespace=0)
    ).matcher()
    out = b""
    while forced := matcher.forced():
        for i in range(len(forced)):
            for byte in range(256):
                assert matcher.fork().accept_bytes(bytes([byte])) == (byte == forced[i])
            assert matcher.accept_bytes(forced[i : i + 1])
        out += forced
        assert matcher.forced() == b""
        break
    assert out.startswith(b'{"')
    assert COMPILER.compile(Grammar.regex("a{3}b?")).matcher().forced() == b"aaa"
    assert COMPILER.compile(Grammar.regex("(a|ab)c")).matcher().forced() == b"a"
    assert COMPILER.compile(Grammar.regex("a{100000000}")).matcher().forced() == b"a" * 65536


def test_equal_sources_share_a_compiled_grammar() -> None:
    compiler = Compiler(VOCAB)
    one = compiler.compile(Grammar.regex("[a-z]+"))
    two = compiler.compile(Grammar.regex("[a-z]+"))
    other = compiler.compile(Grammar.literal("[a-z]+"))
    assert one.core is two.core
    assert other.core is not one.core
    compiler.clear()
    assert compiler.compile(Grammar.regex("[a-z]+")).core is not one.core
    assert one.matcher().accept_bytes(b"abc")
