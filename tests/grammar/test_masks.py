"""A mask is what accepting every token byte by byte says, from random reachable states on."""

from __future__ import annotations

import random

import numpy as np
import pytest
import vocabularies

from treadle.errors import GrammarError, LimitExceeded
from treadle.grammar import Compiler, Grammar, Matcher, Vocab, mask_rows
from treadle.limits import GrammarLimits
from treadle.types import TokenTable

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "ab", 1]}, "maxItems": 2},
    },
    "required": ["name"],
}
GRAMMARS = (
    {
        "json": Grammar.json,
        "schema": lambda: Grammar.json_schema(PERSON),
        "declared": lambda: Grammar.json_schema(PERSON, order="declared", whitespace=2),
        "regex": lambda: Grammar.regex(r'(ab|a){2,5}[0-9"é-ü]*x{0,300}'),
        "left recursion": lambda: Grammar.ebnf(
            'root ::= root "," item | item\nitem ::= "{" root? "}" | "\\"" [^"]{0,4} "\\""'
        ),
        "sum": lambda: Grammar.literal("ab") + Grammar.json() + Grammar.choice(["aa", "abab", "é"]),
        "union": lambda: Grammar.regex("[0-9.]+") | Grammar.json_schema({"type": "number"}),
    }
    | {
        # What the shortcuts of a mask live on: class slices, neighbouring states, clamped counters.
        name: lambda schema=schema: Grammar.json_schema(schema)
        for name, schema in {
            "length": {"type": "string", "minLength": 8, "maxLength": 40},
            "counted class": {"type": "string", "pattern": "^[^x]{0,9}[a-f]{3}$"},
            "names": {"properties": {"ab": {"const": 1}, "abc": {"const": 2}, "é": {"const": 3}}},
            "excluded": {"not": {"enum": ["", "a", "ab7"]}, "type": "string", "maxLength": 6},
            "excluded class": {"type": "string", "not": {"pattern": "^[0-9]{2,3}$"}},
            "items": {"type": "array", "items": {"type": "integer"}, "minItems": 9, "maxItems": 30},
            "members": {"additionalProperties": {"type": "null"}, "maxProperties": 25},
            "large bound": {"type": "integer", "minimum": -7, "maximum": 9223372036854775807},
            "two lengths": {"anyOf": [{"type": "string", "maxLength": 2}, {"pattern": "^a{3,9}$"}]},
        }.items()
    }
    | {
        "behind a loop": lambda: Grammar.regex(
            "([a-z]{0,3}[a-z0-9]{2}|[a-zA-Z ]{0,9}!)[ \\n]{0,40}"
        ),
        "free text": lambda: Grammar.tag(
            {
                "type": "triggered_tags",
                "triggers": ["<a"],
                "tags": [{"begin": "<ab>", "content": {"type": "any_text"}, "end": "</a"}],
                "excludes": ["ba"],
            }
        ),
    }
)
TABLES = {"small": vocabularies.small(), "medium": vocabularies.medium()}


def bits(matcher: Matcher, size: int) -> np.ndarray:
    """The mask as bool [size]."""
    rows = mask_rows(1, size)
    matcher.fill(rows, 0)
    return np.unpackbits(rows.array().view(np.uint8), bitorder="little")[:size].astype(bool)


def brute(matcher: Matcher, vocab: Vocab, data: tuple[bytes, ...], text: set[int]) -> np.ndarray:
    """The same mask by accepting single bytes on forks; tokens share the walk of their prefixes."""
    known: dict[bytes, Matcher | None] = {b"": matcher.fork()}
    for token in text:
        for end in range(1, len(data[token]) + 1):
            prefix = data[token][:end]
            if prefix in known:
                continue
            parent = known[prefix[:-1]]
            fork = parent.fork() if parent else None
            known[prefix] = fork if fork and fork.accept_bytes(prefix[-1:]) else None
    out = np.zeros(vocab.size, dtype=bool)
    for token in text:
        out[token] = known[data[token]] is not None
    for stop in vocab.stop_ids:
        out[stop] = matcher.accepting
    return out


@pytest.mark.parametrize("table_name", TABLES)
@pytest.mark.parametrize("name", GRAMMARS)
def test_mask_is_brute_force(name: str, table_name: str) -> None:
    table = TABLES[table_name]
    vocab = Vocab(table, size=len(table.data) + 5)
    matcher = Compiler(vocab).compile(GRAMMARS[name]()).matcher()
    text = {i for i, kind in enumerate(table.kinds) if int(kind) in (0, 2) and table.data[i]}
    rng = random.Random(name)
    rounds = 3 if table_name == "small" else 1
    for _ in range(rounds):
        matcher.reset()
        for _ in range(12):
            mask = bits(matcher, vocab.size)
            assert (mask == brute(matcher, vocab, table.data, text)).all()
            legal = np.flatnonzero(mask)
            assert legal.size > 0
            for token in rng.sample(range(vocab.size), 20):
                assert matcher.fork().accept(token) == mask[token]
            assert matcher.accept(int(rng.choice(list(legal))))
            if matcher.finished:
                assert not bits(matcher, vocab.size).any()
                break


@pytest.mark.parametrize("name", ["schema", "regex", "left recursion", "sum"])
def test_every_tokenisation_agrees(name: str) -> None:
    """Sample a text under masks; any cut into tokens is accepted, and only at its end complete."""
    table = TABLES["small"]
    vocab = Vocab(table)
    compiled = Compiler(vocab).compile(GRAMMARS[name]())
    by_text: dict[bytes, int] = {table.data[i]: i for i in range(len(table.data) - 4)}
    rng = random.Random(1)
    for _ in range(5):
        matcher = compiled.matcher()
        out = b""
        for _ in range(25):
            legal = np.flatnonzero(bits(matcher, vocab.size))
            token = int(rng.choice(list(legal)))
            assert matcher.accept(token)
            if matcher.finished:
                break
            out += table.data[token]
        whole = compiled.matcher()
        assert whole.accept_bytes(out)
        for _ in range(4):
            cut = compiled.matcher()
            ids: list[int] = []
            at = 0
            while at < len(out):
                ends = [n for n in range(1, 5) if out[at : at + n] in by_text]
                step = rng.choice(ends)
                ids.append(by_text[out[at : at + step]])
                at += step
            assert cut.validate_tokens(ids) == len(ids)
            assert all(cut.accept(i) for i in ids)
            assert (bits(cut, vocab.size) == bits(whole, vocab.size)).all()
            assert cut.accepting == whole.accepting


def test_special_tokens_never_enter_text() -> None:
    """`"` exists as a control token too; inside a string only the ordinary one is legal."""
    table = TABLES["small"]
    vocab = Vocab(table, size=len(table.data) + 40)
    matcher = Compiler(vocab).compile(Grammar.json_schema({"type": "string"})).matcher()
    control = len(table.data) - 3
    assert table.data[control] == b'"'
    for text in (b"", b'"', b"a", b"\\"):
        assert matcher.accept_bytes(text)
        mask = bits(matcher, vocab.size)
        assert not mask[control]
        assert not mask[len(table.data) - 4]  # no bytes at all
        assert not mask[len(table.data) - 1 :].any()  # unused, padded
    assert not matcher.accept(control)


def test_hostile_output_ends_in_a_limit() -> None:
    limits = GrammarLimits(stack_depth=500)
    compiled = Compiler(Vocab(TABLES["small"]), limits).compile(Grammar.json())
    deep = compiled.matcher()
    with pytest.raises(LimitExceeded) as caught:
        deep.accept_bytes(b"[" * 100_000)
    assert caught.value.limit == "stack_depth"
    assert caught.value.maximum == 500
    with pytest.raises(LimitExceeded):
        deep.fill(mask_rows(1, 400), 0)
    deep.reset()
    assert deep.accept_bytes(b"[" * 400 + b"]" * 400)
    assert deep.accepting


def test_step_fuel_is_a_limit_of_that_matcher() -> None:
    limits = GrammarLimits(step_fuel=4000)
    compiled = Compiler(Vocab(TABLES["medium"]), limits).compile(Grammar.json())
    matcher, other = compiled.matcher(), compiled.matcher()
    assert matcher.accept_bytes(b'"')
    with pytest.raises(LimitExceeded) as caught:
        matcher.fill(mask_rows(1, 4000), 0)
    assert caught.value.limit == "step_fuel"
    assert isinstance(matcher.error, LimitExceeded)
    assert other.accept_bytes(b'"ab"')
    assert other.accepting


def test_stuck_is_an_error_not_an_empty_mask() -> None:
    table = vocabularies.table([b"a", b"b"], byte_tokens=False)
    matcher = Compiler(Vocab(table)).compile(Grammar.regex("abc")).matcher()
    rows = mask_rows(1, len(table.data))
    assert matcher.accept(0)
    assert matcher.accept(1)
    with pytest.raises(GrammarError) as caught:
        matcher.fill(rows, 0)
    assert caught.value.reason == "stuck"
    assert isinstance(matcher.error, GrammarError)
    matcher.rollback(1)
    assert matcher.error is None
    assert matcher.fill(rows, 0)


def test_nothing_matches_is_unsatisfiable() -> None:
    with pytest.raises(GrammarError) as caught:
        Compiler(Vocab(TABLES["small"])).compile(Grammar.ebnf('root ::= "a" root'))
    assert caught.value.reason == "unsatisfiable"


@pytest.mark.parametrize("unit", ["[a-z]+ ?", "[a-z]{1,2}", "[a-z]|[a-z]{3}x", "[a-z]"])
def test_a_slice_of_a_class_changes_no_mask(unit: str) -> None:
    """A class is sliced once it was asked for ten times: from then on masks take a shortcut."""
    words = [
        word[:length].encode() for word in ("abcdefghijkl", "zz yx") for length in range(2, 13)
    ]
    table = vocabularies.table(
        [*words, *(b"%c%c" % (a, b) for a in b"abcd" for b in range(97, 123))]
    )
    vocab = Vocab(table)
    compiler = Compiler(vocab)
    text = {i for i, kind in enumerate(table.kinds) if int(kind) in (0, 2) and table.data[i]}
    for round_ in range(16):
        pattern = f"({unit}){{1,{2 + round_ % 8}}}!{round_}"
        matcher = compiler.compile(Grammar.regex(pattern)).matcher()
        mask = bits(matcher, vocab.size)
        assert (mask == brute(matcher, vocab, table.data, text)).all(), pattern


def long_tokens() -> TokenTable:
    """Runs of one character up to 60 long: raw, escaped, of several bytes, and with an end."""
    runs = [
        text * n for text in ("a", "é", "\\n", " ") for n in (3, 19, 23, 24, 25, 30, 31, 44, 60)
    ]
    ends = ['"', '",', '"}', "é", "\\", "!", "b"]
    return vocabularies.table(
        [*(r.encode() for r in runs), *((r + e).encode() for r in runs for e in ends)]
    )


@pytest.mark.parametrize("least", [0, 1, 27])
def test_a_length_says_nothing_of_shorter_tokens(least: int) -> None:
    table = long_tokens()
    vocab = Vocab(table)
    text = {i for i, kind in enumerate(table.kinds) if int(kind) in (0, 2) and table.data[i]}
    for most in (28, 31, 45, 59, 70):
        schema = {"type": "string", "minLength": least, "maxLength": most}
        matcher = Compiler(vocab).compile(Grammar.json_schema({"items": schema})).matcher()
        assert matcher.accept_bytes(b'["')
        for piece in ("", "a", "é", "\\n", "a"):
            assert matcher.accept_bytes(piece.encode())
            mask = bits(matcher, vocab.size)
            assert (mask == brute(matcher, vocab, table.data, text)).all(), (most, piece)


def test_a_loop_that_its_continuation_goes_on_with() -> None:
    table = long_tokens()
    vocab = Vocab(table)
    compiler = Compiler(vocab)
    text = {i for i, kind in enumerate(table.kinds) if int(kind) in (0, 2) and table.data[i]}
    for round_ in range(14):
        source = f'root ::= [a-z]{{5,{20 + round_}}} more\nmore ::= [a-z]{{1,60}} ("!" more | "?")'
        matcher = compiler.compile(Grammar.ebnf(source)).matcher()
        mask = bits(matcher, vocab.size)
        assert (mask == brute(matcher, vocab, table.data, text)).all(), source
