"""Stored grammars: the same language again, and a `format` error for anything else."""

from __future__ import annotations

import json
import random

import pytest
import vocabularies

from treadle.errors import GrammarError, LimitExceeded
from treadle.grammar import Compiler, Grammar, Matcher, Vocab, mask_rows
from treadle.limits import GrammarLimits

TABLE = vocabularies.small()
VOCAB = Vocab(TABLE)
COMPILER = Compiler(VOCAB)
SCHEMA = {"type": "object", "properties": {"ä\n": {"type": "integer"}}, "required": ["ä\n"]}
GRAMMARS = [
    Grammar.json(whitespace=2, escapes="minimal"),
    Grammar.json_object(numbers="plain"),
    Grammar.json_schema(SCHEMA, order="declared", lenient=True, formats=False, at="/x"),
    Grammar.json_schema({"properties": {"a": {"format": "date"}}}, closed=True, formats="exact"),
    Grammar.json_schema({"$ref": "x:y"}, resources={"x:y": {"const": 'ä"\n'}}),
    Grammar.regex('[a-z"\\\\]+\u00e9'),
    Grammar.ebnf('top ::= "a" r\nr[max_tokens=2, capture] ::= [ab]*', root="top"),
    Grammar.lark("start: @other", grammars={"other": 'start: "ab" A?\nA: /12/'}),
    Grammar.choice(["ab", "", 'a"b']),
    Grammar.tag({"type": "tag", "begin": "{", "content": {"type": "any_text"}, "end": "}"}),
    Grammar.literal(b"\xff\x00a"),
]


def masks(matcher: Matcher, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    out = []
    for _ in range(6):
        rows = mask_rows(1, VOCAB.size)
        matcher.fill(rows, 0)
        out.append(bytes(memoryview(rows)))
        legal = [t for t in range(VOCAB.size) if out[-1][t // 8] >> (t % 8) & 1]
        if not legal:
            break
        matcher.accept(rng.choice(legal))
    return out


def test_the_same_language_again() -> None:
    every = [*GRAMMARS, GRAMMARS[3] + GRAMMARS[4] | GRAMMARS[8] | GRAMMARS[4]]
    for grammar in every:
        text = grammar.dumps()
        again = Grammar.loads(text)
        assert again.dumps() == text
        assert again.core.key == grammar.core.key
        assert again.notes == grammar.notes
        json.loads(text)
        compiled = COMPILER.compile(grammar)
        stored = Compiler(Vocab(TABLE)).loads(compiled.dumps())
        assert stored.dumps() == compiled.dumps()
        for seed in range(3):
            one, two = compiled.matcher(), stored.matcher()
            assert masks(one, seed) == masks(two, seed)
            assert one.captures() == two.captures()


def test_shared_parts_are_stored_once() -> None:
    grammar = GRAMMARS[0] | GRAMMARS[1]
    for _ in range(12):
        grammar = (grammar + GRAMMARS[6]) | (grammar + GRAMMARS[8])
        if len(grammar.dumps()) > 1 << 16:
            break
    assert len(grammar.dumps()) < 1 << 16


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": "other"}, "not a stored grammar"),
        ({"version": 1}, "another version"),
        ({"version": "2"}, "another version"),
        ({"sources": []}, "sources"),
        ({"more": 1}, "sources"),
        ({"sources": [1]}, "object"),
        ({"sources": [{"kind": "nothing"}]}, "no kind"),
        ({"sources": [{"kind": "regex", "text": 3}]}, "unexpected"),
        ({"sources": [{"kind": "regex", "text": "a", "lenient": True}]}, "unexpected"),
        ({"sources": [{"kind": "json", "whitespace": -1}]}, "unexpected"),
        ({"sources": [{"kind": "concat", "parts": [0]}]}, "unexpected"),
        ({"sources": [{"kind": "literal", "text_hex": "0"}]}, "unexpected"),
        ({"sources": [{"kind": "literal"}, {"kind": "regex", "parts": [0]}]}, "belong"),
    ],
)
def test_other_texts_are_refused(change: dict[str, object], match: str) -> None:
    good = json.loads(Grammar.literal("a").dumps())
    with pytest.raises(GrammarError, match=match) as caught:
        Grammar.loads(json.dumps(good | change))
    assert caught.value.reason == "format"


def test_what_is_stored_is_read_with_care() -> None:
    for text in ["", "{", "[]", '"treadle-grammar"']:
        with pytest.raises(GrammarError) as caught:
            Grammar.loads(text)
        assert caught.value.reason == "format"
    bad = json.loads(Grammar.literal("a").dumps())
    bad["sources"] = [{"kind": "regex", "text": "("}]
    with pytest.raises(GrammarError) as caught:  # stored well, but no pattern
        Grammar.loads(json.dumps(bad))
    assert caught.value.reason == "syntax"
    deep = [{"kind": "literal", "text": "a"}]
    deep += [{"kind": "any_of" if i % 2 else "concat", "parts": [i]} for i in range(30)]
    bad["sources"] = deep
    with pytest.raises(LimitExceeded):
        Grammar.loads(json.dumps(bad), limits=GrammarLimits(source_depth=20))


def test_blocks_are_checked() -> None:
    block = COMPILER.compile(GRAMMARS[2]).dumps()
    rng = random.Random(1)
    for _ in range(200):
        damaged = bytearray(block)
        at = rng.randrange(len(damaged))
        damaged[at] ^= 1 << rng.randrange(8)
        with pytest.raises(GrammarError) as caught:
            COMPILER.loads(bytes(damaged))
        assert caught.value.reason == "format"
    for cut in (0, 5, len(block) // 2, len(block) - 1):
        with pytest.raises(GrammarError):
            COMPILER.loads(block[:cut])
    with pytest.raises(GrammarError, match="another vocabulary"):
        Compiler(Vocab(vocabularies.medium(50))).loads(block)
