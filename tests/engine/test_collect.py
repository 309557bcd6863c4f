"""Text, stop strings and ends of a choice, token by token."""

from __future__ import annotations

import random

import pytest
from fake import EOS, TABLE, Bench, Fake, logits_of, submit
from hypothesis import given
from hypothesis import strategies as st

from treadle.engine.collect import Writer
from treadle.text import Spellings
from treadle.types import Sampling

MULTI = [i for i, data in enumerate(TABLE.data) if i != EOS and i != EOS + 1]


def spell(text: str, rng: random.Random) -> list[int]:
    """A random tokenisation of a text, cut inside characters too."""
    data, out = text.encode(), []
    while data:
        fits = [i for i in MULTI if data.startswith(TABLE.data[i])]
        token = rng.choice(fits)
        out.append(token)
        data = data[len(TABLE.data[token]) :]
    return out


def write(tokens: list[int], **sampling: object) -> tuple[str, str | None, list[str]]:
    """Text, finish and pieces of a writer that gets these tokens."""
    writer = Writer(Spellings(TABLE).detokeniser(), frozenset([EOS]), Sampling(**sampling))
    pieces: list[str] = []
    for i, token in enumerate(tokens, 1):
        text, finish = writer.push(token, i)
        pieces.append(text)
        if finish is not None:
            return "".join(pieces), finish, pieces
    pieces.append(writer.close(""))
    return "".join(pieces), None, pieces


texts = st.text(alphabet='abé日 the{":}', max_size=20)


@given(text=texts, seed=st.integers(0, 999))
def test_text_survives_any_tokenisation(text: str, seed: int) -> None:
    got, finish, pieces = write(spell(text, random.Random(seed)))
    assert (got, finish) == (text, None)
    assert all("\ufffd" not in piece for piece in pieces), "half a character was shown"
    assert write([*spell(text, random.Random(seed)), EOS])[:2] == (text, "stop")


@given(
    text=texts,
    stops=st.lists(st.text(alphabet="abé日 the", min_size=1, max_size=4), min_size=1, max_size=3),
    seed=st.integers(0, 999),
)
def test_text_ends_before_the_first_stop_string(text: str, stops: list[str], seed: int) -> None:
    got, finish, pieces = write(spell(text, random.Random(seed)), stop=tuple(stops))
    ends = [(text.find(s) + len(s), -len(s), s) for s in stops if s in text]
    if not ends:
        assert (got, finish) == (text, None)
        ended = write([*spell(text, random.Random(seed)), EOS], stop=tuple(stops))
        assert ended[:2] == (text, "stop"), "text held back was lost at the end token"
        return
    end, minus, _ = min(ends)
    assert (got, finish) == (text[: end + minus], "stop")
    assert text.startswith("".join(pieces))


def test_stop_strings_count_once_min_tokens_are_out() -> None:
    tokens = spell("ab ab ab", random.Random(1))
    first = next(
        i for i in range(len(tokens)) if b"ab" in b"".join(TABLE.data[t] for t in tokens[: i + 1])
    )
    assert write(tokens, stop=("ab",), min_tokens=first + 2)[:2] == ("ab ", "stop")


def run(**sampling: object) -> Bench:
    bench = Bench(Fake(eos=6.0))
    bench.inbox.put(submit(1, [9, 9], **sampling))
    bench.finish()
    return bench


def test_end_tokens_wait_for_min_tokens_and_never_come_with_ignore_eos() -> None:
    assert EOS in run(max_tokens=60).tokens(1)
    late = run(max_tokens=60, min_tokens=25).tokens(1)
    assert EOS not in late[:25]
    assert len(late) < 60
    never = run(max_tokens=60, ignore_eos=True)
    assert len(never.tokens(1)) == 60
    assert EOS not in never.tokens(1)
    assert never.events[-2].delta.finish_reason == "length"
    early = run(max_tokens=60, min_tokens=3, ignore_eos=True, stop_token_ids=tuple(range(60)))
    assert len(early.tokens(1)) < 60
    assert not set(early.tokens(1)[:3]) & set(range(60))


def test_logprobs_are_of_the_raw_logits() -> None:
    import numpy as np

    bench = run(max_tokens=8, logprobs=3, temperature=0.3, logit_bias={65: 50.0}, ignore_eos=True)
    history = [9, 9]
    for event in bench.events[:-1]:
        (entry,) = event.delta.logprobs
        x = logits_of(np.array(history), 6.0).astype(np.float64)
        want = x - np.log(np.exp(x).sum())
        assert entry.id == event.delta.token_ids[0] == 65
        assert entry.text == b"A"
        assert entry.logprob == pytest.approx(want[65], abs=1e-4)
        assert [t[0] for t in entry.top] == np.argsort(-x)[:3].tolist()
        assert [t[2] for t in entry.top] == pytest.approx(np.sort(want)[::-1][:3], abs=1e-4)
        history.append(65)
