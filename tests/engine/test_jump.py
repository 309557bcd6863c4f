"""What a grammar forces is appended: same text, fewer steps, whatever shares them."""

from __future__ import annotations

import random
import re

import pytest
from fake import EOS, TABLE, VOCAB, Bench, Fake, submit
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.grammar import Compiler, Grammar, Vocab
from treadle.types import TokenKind

COMPILER = Compiler(Vocab(TABLE, VOCAB))
LONG = "the end of a long forced text, "
SOURCE = r'\{"name":"[abé]{1,3}","true":(true|null), "abab":12' + LONG * 3 + r"[0-9]{2}\}"
GRAMMAR = COMPILER.compile(Grammar.regex(SOURCE))
WORDS = [i for i, kind in enumerate(TABLE.kinds) if kind is TokenKind.NORMAL]
SPELLED = sorted(WORDS, key=lambda i: -len(TABLE.data[i]))


def encode(text: str) -> list[int]:
    """The longest token at every place: a tokenizer of one reading."""
    data, out = text.encode(), []
    while data:
        out.append(next(i for i in SPELLED if data.startswith(TABLE.data[i])))
        data = data[len(TABLE.data[out[-1]]) :]
    return out


def text_of(tokens: list[int]) -> str:
    return b"".join(TABLE.data[i] for i in tokens if i != EOS).decode()


def requests(rng: random.Random, count: int) -> list:
    kinds: list[dict[str, object]] = [
        {},
        {"n": 2},
        {"presence_penalty": 0.5},
        {"max_tokens": 17},
        {"stop": ("long",)},
        {"logprobs": 1},
    ]
    return [
        submit(
            number,
            [rng.randrange(256) for _ in range(rng.randint(1, 12))],
            grammar=rng.choice([GRAMMAR, GRAMMAR, None]),
            **{"max_tokens": 150, "temperature": 1.0, **rng.choice(kinds)},
        )
        for number in range(1, count + 1)
    ]


@given(seed=st.integers(0, 10_000), pages=st.sampled_from([90, 130]), room=st.sampled_from([8, 32]))
@settings(max_examples=8)
def test_jumps_meet_the_grammar_with_and_without_overlap(seed: int, pages: int, room: int) -> None:
    wanted = requests(random.Random(seed), 6)
    benches = [
        Bench(Fake(pages), overlap=overlap, sequences=5, batch_tokens=room, encode=encode)
        for overlap in (True, False)
    ]
    for bench in benches:
        for item in wanted:
            bench.inbox.put(item)
        bench.finish()
    for item in wanted:
        for index in range(item.sampling.n):
            one, other = (bench.deltas(item.id, index) for bench in benches)
            assert [d.token_ids for d in one] == [d.token_ids for d in other]
            if item.grammar is None:
                continue
            text = "".join(delta.text for delta in one)
            if item.sampling.stop:
                assert text.endswith("of a ")
            elif one[-1].finish_reason == "stop":
                assert re.fullmatch(SOURCE, text)
            else:
                assert sum(len(d.token_ids) for d in one) == item.sampling.max_tokens


@pytest.mark.parametrize("overlap", [True, False])
def test_a_jump_costs_a_step_and_its_tokens_are_the_tokenizers(overlap: bool) -> None:
    steps: dict[bool, int] = {}
    for jumps in (True, False):
        bench = Bench(
            Fake(400), overlap=overlap, batch_tokens=256, encode=encode if jumps else None
        )
        bench.inbox.put(submit(1, [5], grammar=GRAMMAR, max_tokens=200, temperature=1.0))
        bench.finish()
        tokens = bench.tokens(1)
        assert re.fullmatch(SOURCE, text_of(tokens))
        steps[jumps] = bench.device.forwards
        forced = bench.loop.stats.forced_tokens
        if jumps:
            assert 90 < forced < len(tokens) == bench.loop.stats.generation_tokens
            tail = text_of(tokens)[text_of(tokens).index("12the") :]
            assert tokens[-len(encode(tail)) - 1 :] == [*encode(tail), EOS]
        else:
            assert forced == 0
    assert steps[True] * 4 < steps[False]


@pytest.mark.parametrize("overlap", [True, False])
def test_a_rule_may_set_the_temperature(overlap: bool) -> None:
    source = "root ::= cold hot\ncold[temperature=0] ::= [a-z]{12}\nhot ::= [a-z]{12}"
    grammar = COMPILER.compile(Grammar.ebnf(source))
    bench = Bench(Fake(400), overlap=overlap)
    for number in range(1, 5):
        bench.inbox.put(submit(number, [7], grammar=grammar, max_tokens=30, temperature=2.0))
    bench.finish()
    texts = [text_of(bench.tokens(number)) for number in range(1, 5)]
    assert len({text[:11] for text in texts}) == 1
    assert len({text[12:] for text in texts}) == 4


def test_what_is_asked_about_single_draws_is_drawn() -> None:
    for asked in ({"logprobs": 0}, {"logit_bias": {65: 1.0}}):
        bench = Bench(Fake(400), encode=encode)
        bench.inbox.put(submit(1, [5], grammar=GRAMMAR, max_tokens=200, **asked))
        bench.finish()
        assert bench.loop.stats.forced_tokens == 0
        assert all(len(delta.token_ids) == 1 for delta in bench.deltas(1))
