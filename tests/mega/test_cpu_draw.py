"""The workers' draw against the sampler that defines it: equal tokens for equal logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from treadle import _core
from treadle.backends import sampler
from treadle.types import Mask, SampleBatch, Sampled

RNG = np.random.default_rng(23)
ISA = _core.cpu_isas()[-1]
Array = NDArray[Any]


def rules(rows: int, vocab: int, **fixed: Any) -> SampleBatch:
    """Random parameters of every kind; `fixed` ones for all rows."""
    pick = RNG.choice
    values: dict[str, Any] = {
        "temperature": pick([0.0, 0.3, 1.0, 1.0, 2.0], rows),
        "top_k": pick([0, 0, 1, 3, 40, vocab, vocab + 9], rows),
        "top_p": pick([1.0, 1.0, 0.2, 0.9, 0.999, 1e-6], rows),
        "min_p": pick([0.0, 0.0, 0.02, 0.4], rows),
        "presence": pick([0.0, 1.5, -0.5], rows),
        "frequency": pick([0.0, 0.75], rows),
        "repetition": pick([1.0, 1.3, 0.7], rows),
        "key": RNG.integers(0, 2**64, rows, np.uint64),
        "step": RNG.integers(0, 5000, rows),
        "logprobs": pick([-1, 0, 4, 20], rows),
    } | fixed
    types = {"top_k": "i4", "step": "i4", "logprobs": "i4", "key": "u8"}
    arrays = {n: np.full(rows, v, types.get(n, "f4")) for n, v in values.items()}
    lists: dict[str, Array] = {}
    for kind in ("bias", "pen"):
        sizes = pick([0, 0, min(3, vocab)], rows)
        ids = [RNG.choice(vocab, n, replace=False) for n in sizes]
        lists[f"{kind}_ptr"] = np.cumsum([0, *sizes], dtype=np.int32)
        lists[f"{kind}_ids"] = np.concatenate(ids).astype(np.int32)
    lists["bias_values"] = RNG.uniform(-4, 4, len(lists["bias_ids"])).astype(np.float32)
    lists["pen_out"] = RNG.integers(0, 3, len(lists["pen_ids"])).astype(np.int32)
    return SampleBatch(**arrays, **lists)


def masks(rows: int, vocab: int) -> tuple[Array | None, Mask | None]:
    """Random legal tokens: none masked, few legal, most legal, none legal."""
    kind = RNG.choice(["free", "few", "most", "any"])
    if kind == "free":
        return None, None
    share = RNG.choice({"few": [0.01], "most": [0.97], "any": [0.0, 0.01, 0.5, 1.0]}[kind], rows)
    legal = RNG.random((rows, -(-vocab // 32) * 32)) < share[:, None]
    bits = np.packbits(legal, axis=1, bitorder="little").view(np.int32)
    return bits, Mask(bits, np.arange(rows, dtype=np.int32))


def same(drawn: Sampled, wanted: Sampled) -> None:
    """Tokens, status and the ids told are equal, probabilities close."""
    np.testing.assert_array_equal(drawn.status, wanted.status)
    np.testing.assert_array_equal(drawn.ids, wanted.ids)
    np.testing.assert_array_equal(drawn.top_ids, wanted.top_ids)
    np.testing.assert_allclose(drawn.logprobs, wanted.logprobs, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(drawn.top_logprobs, wanted.top_logprobs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("vocab", [1, 7, 31, 300, 5000])
@pytest.mark.parametrize("spread", [0.2, 2.0, 9.0, 60.0])
def test_tokens_are_those_of_the_definition(vocab: int, spread: float) -> None:
    rows = 12
    for round in range(12):
        logits = (RNG.standard_normal((rows, vocab)) * spread).astype(np.float32)
        if round % 3 == 0:
            logits = np.round(logits)  # ties everywhere
        if round % 4 == 0:
            logits[1, RNG.integers(vocab)] = RNG.choice([np.nan, np.inf, -np.inf])
        params = rules(rows, vocab)
        bits, mask = masks(rows, vocab)
        same(
            Sampled(*_core.cpu_draw(ISA, logits, bits, params)),
            sampler.sample(logits, mask, params),
        )


def test_large_vocabularies_and_flat_rows() -> None:
    vocab = 50_000
    logits = (RNG.standard_normal((8, vocab)) * 1.5).astype(np.float32)
    logits[4:] = 0  # all alike: the draw is the noise alone, and top_p cuts by id
    for fixed in ({"top_k": 0, "top_p": 1.0, "min_p": 0.0}, {"top_p": 0.3}, {"top_k": 500}):
        params = rules(8, vocab, temperature=1.0, **fixed)
        wanted = sampler.sample(logits, None, params)
        for isa in _core.cpu_isas():
            same(Sampled(*_core.cpu_draw(isa, logits, None, params)), wanted)


def test_what_does_not_fit_is_refused() -> None:
    logits = np.zeros((2, 40), np.float32)
    good = rules(2, 40)
    for bad in (rules(3, 40), rules(2, 40, logprobs=1 << 20)):
        with pytest.raises(_core.CoreError):
            _core.cpu_draw(ISA, logits, None, bad)
    with pytest.raises(_core.CoreError):
        _core.cpu_draw(ISA, logits, np.zeros((2, 1), np.int32), good)
    with pytest.raises(_core.CoreError):
        _core.cpu_draw(ISA, np.zeros((2, 0), np.float32), None, good)
