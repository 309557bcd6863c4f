"""The two sampler kernels against the project's one rule of draws."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from gpu import device, launch, read

from treadle.backends.sampler import NO_LEGAL_TOKEN, NOT_FINITE, sample
from treadle.export import kernels
from treadle.types import Mask, SampleBatch

F32 = np.float32


@pytest.fixture(autouse=True)
def _adapter() -> None:
    device()


def plain(R: int, **changes: Any) -> SampleBatch:
    """Draws without truncation, bias or penalties, but for the changes."""
    floats = {"temperature": 0.0, "top_p": 1.0, "min_p": 0.0}
    floats |= {"presence": 0.0, "frequency": 0.0, "repetition": 1.0}
    fields: dict[str, Any] = {name: np.full(R, v, F32) for name, v in floats.items()}
    fields |= {"top_k": np.zeros(R, np.int32), "logprobs": np.full(R, -1, np.int32)}
    fields |= {"key": np.zeros(R, np.uint64), "step": np.zeros(R, np.int32)}
    none = np.zeros(0, np.int32)
    fields |= {"bias_ptr": np.zeros(R + 1, np.int32), "bias_ids": none}
    fields |= {"bias_values": np.zeros(0, F32), "pen_ids": none, "pen_out": none}
    fields |= {"pen_ptr": np.zeros(R + 1, np.int32)}
    return SampleBatch(**(fields | changes))


class Drawn(NamedTuple):
    """What the kernels say: -1 and -2 instead of a status."""

    ids: np.ndarray
    logprobs: np.ndarray
    top_ids: np.ndarray  # [R, 20]
    top_logprobs: np.ndarray


def drawn(logits: np.ndarray, params: SampleBatch, mask: Mask | None = None) -> Drawn:
    """Tokens of the kernels: of an odd vocabulary by subgroups, where the adapter has them."""
    R, V = logits.shape
    held = entries(params)
    words = np.zeros((R, 16), np.uint32)
    words[:, 0] = params.temperature.view(np.uint32)
    words[:, 1:3] = params.key[:, None].view(np.uint32)
    words[:, 3], words[:, 5] = params.step, np.arange(R)
    words[:, 4] = 0xFFFFFFFF
    if mask is not None:
        words[mask.rows, 4] = np.arange(len(mask.rows))
    share = np.round(params.top_p.astype(np.float64) * (1 << 24)).astype(np.uint32)
    words[:, 6], words[:, 7] = params.top_k, np.where(params.top_p < 1, share, 0)
    with np.errstate(divide="ignore"):
        least = np.maximum(np.log(params.min_p.astype(np.float64)), -3.4e38).astype(F32)
    words[:, 8] = least.view(np.uint32)
    for at, name in enumerate(("repetition", "frequency", "presence"), 9):
        words[:, at] = getattr(params, name).view(np.uint32)
    words[:, 12] = np.cumsum([0, *map(len, held[:-1])])
    words[:, 13] = [len(rows) for rows in held]
    words[:, 14] = params.logprobs.view(np.uint32)
    tile, pick = kernels.sampler(V, V % 2 == 1 and "subgroup" in device().features)
    count = kernels.tiles(V)
    given: dict[str, Any] = {
        "logits": logits, "draws": words, "tiles": np.zeros((R, count, 8), np.uint32),
        "mask": np.zeros(4, np.int32) if mask is None else mask.bits,
        "entries": np.array([e for rows in held for e in rows] or [[0] * 3], np.uint32),
        "scores": np.zeros((R, V), np.uint32), "drawn": np.zeros(R, np.int32),
        "told": np.zeros((R, 48), np.uint32),
    }  # fmt: skip
    given |= launch(tile, given, (count, R))
    made = launch(pick, given, (R,))
    told = read(made["told"], np.uint32, R * 48).reshape(R, 48)
    pairs = told[:, 2:42].reshape(R, 20, 2)
    return Drawn(
        read(made["drawn"], np.int32, R), told[:, 0].copy().view(F32),
        pairs[:, :, 0].view(np.int32), pairs[:, :, 1].copy().view(F32),
    )  # fmt: skip


def entries(params: SampleBatch) -> list[list[tuple[int, int, int]]]:
    """One entry a named token of a row: bias and penalty of the same token share it."""
    out: list[list[tuple[int, int, int]]] = []
    for r in range(len(params.temperature)):
        found: dict[int, tuple[float, int]] = {}
        for i in range(params.bias_ptr[r], params.bias_ptr[r + 1]):
            found[int(params.bias_ids[i])] = float(params.bias_values[i]), 0
        for i in range(params.pen_ptr[r], params.pen_ptr[r + 1]):
            bias = found.get(int(params.pen_ids[i]), (0.0, 0))[0]
            found[int(params.pen_ids[i])] = bias, 1 + 2 * int(params.pen_out[i])
        out.append([(t, int(F32(b).view(np.uint32)), f) for t, (b, f) in found.items()])
    return out


@pytest.mark.parametrize("vocab", [1, 31, 33, 517, 49_152, 100_003])
def test_draws_are_those_of_the_host(vocab: int) -> None:
    rng = np.random.default_rng(vocab)
    R = 12
    logits = (3 * rng.standard_normal((R, vocab))).astype(F32)
    logits[0, :] = 1.0  # all equal: the lowest id, or the noise alone
    logits[1, :] = 1.0
    temperature = np.array([0, 1, 0, 0.1, 0.5, 1, 1, 1, 1.3, 2, 5, 1e-6], F32)
    key = rng.integers(0, 1 << 63, R).astype(np.uint64) * np.uint64(2)
    params = plain(R, temperature=temperature, key=key, step=np.arange(R, dtype=np.int32) * 7)
    rows = np.array([2, 4, 5, 6], np.int32)
    bits = rng.integers(-(1 << 31), 1 << 31, (4, -(-vocab // 32))).astype(np.int32)
    bits[0], bits[3] = 0, 0
    bits[3, (vocab - 1) // 32] = np.int32(np.uint32(1 << (vocab - 1) % 32).view(np.int32))
    bits[1, 0] |= 1
    bits[2, 0] |= 1
    mask = Mask(bits, rows)
    for given in (None, mask):
        wanted = sample(logits, given, params)
        got = drawn(logits, params, given).ids
        np.testing.assert_array_equal(got, wanted.ids)
    assert got[2] == -1
    assert wanted.status[2] == NO_LEGAL_TOKEN
    assert got[6] == vocab - 1


def test_draws_after_bias_and_penalties_and_of_broken_logits() -> None:
    rng = np.random.default_rng(8)
    R, V = 4, 301
    logits = rng.standard_normal((R, V)).astype(F32)
    logits[2, 17] = np.nan
    params = plain(
        R,
        temperature=np.array([0, 1, 1, 0.7], F32),
        repetition=np.array([1, 1.5, 1, 2], F32),
        frequency=np.array([0, 0.5, 0, 0.1], F32),
        presence=np.array([0, 0.3, 0, 1], F32),
        bias_ptr=np.array([0, 2, 3, 3, 4], np.int32),
        bias_ids=np.array([5, 300, 9, 0], np.int32),
        bias_values=np.array([100, 50, -100, 3], F32),
        pen_ptr=np.array([0, 0, 40, 40, 80], np.int32),
        pen_ids=np.concatenate([np.arange(40), np.arange(40, 80)]).astype(np.int32),
        pen_out=(np.arange(80) % 3).astype(np.int32),
    )
    wanted = sample(logits, None, params)
    got = drawn(logits, params).ids
    assert got.tolist() == np.where(wanted.status == NOT_FINITE, -2, wanted.ids).tolist()
    assert got[0] == 5
    assert got[2] == -2


@pytest.mark.parametrize("vocab", [2, 40, 1027, 49_151])
def test_truncated_draws_and_log_probabilities_are_those_of_the_host(vocab: int) -> None:
    rng = np.random.default_rng(vocab)
    R = 48
    logits = (rng.uniform(0.5, 4, (R, 1)) * rng.standard_normal((R, vocab))).astype(F32)
    logits[:6] = np.round(logits[:6])  # many equals
    logits[6:8] = -2.0  # nothing but equals
    named = [rng.choice(vocab, min(vocab, 9), replace=False).astype(np.int32) for _ in range(R)]
    ids = np.concatenate(named)
    ends = np.cumsum([0, *map(len, named)]).astype(np.int32)
    params = plain(
        R,
        temperature=rng.choice([0, 0.01, 0.7, 1, 1.5], R).astype(F32),
        top_k=rng.choice([0, 1, 2, 5, 40, 700], R).astype(np.int32),
        top_p=rng.choice([1, 0.01, 0.5, 0.9, 0.999], R).astype(F32),
        min_p=rng.choice([0, 0, 0.05, 0.5], R).astype(F32),
        logprobs=rng.choice([-1, 0, 1, 5, 20], R).astype(np.int32),
        repetition=rng.choice([1, 1.25], R).astype(F32),
        frequency=rng.choice([0, 0.25], R).astype(F32),
        presence=rng.choice([0, 0.5], R).astype(F32),
        key=rng.integers(0, 1 << 63, R).astype(np.uint64), step=np.arange(R, dtype=np.int32),
        bias_ptr=ends, bias_ids=ids, bias_values=(rng.integers(-8, 9, len(ids)) / 2).astype(F32),
        pen_ptr=ends, pen_ids=ids, pen_out=rng.integers(0, 3, len(ids)).astype(np.int32),
    )  # fmt: skip
    rows = np.arange(0, R, 3, dtype=np.int32)
    bits = rng.integers(-(1 << 31), 1 << 31, (len(rows), -(-vocab // 32))).astype(np.int32)
    bits[:, 0] |= 1
    mask = Mask(bits, rows)
    wanted = sample(logits, mask, params)
    got = drawn(logits, params, mask)
    np.testing.assert_array_equal(got.ids, wanted.ids)
    for r in np.flatnonzero(params.logprobs >= 0):
        told = int(params.logprobs[r])
        assert abs(got.logprobs[r] - wanted.logprobs[r]) < 2e-5 * max(1, abs(wanted.logprobs[r]))
        few = min(told, vocab)
        np.testing.assert_array_equal(got.top_ids[r, :few], wanted.top_ids[r, :few])
        np.testing.assert_allclose(
            got.top_logprobs[r, :few], wanted.top_logprobs[r, :few], 2e-5, 2e-5
        )


def test_frequencies_are_those_of_the_softmax() -> None:
    V, R, rounds = 9, 64, 40
    logits = np.tile(np.linspace(-1, 1.5, V).astype(F32), (R, 1))
    counts = np.zeros(V)
    for step in range(rounds):
        params = plain(
            R, temperature=np.ones(R, F32), key=np.arange(R, dtype=np.uint64) + np.uint64(1 << 40),
            step=np.full(R, step, np.int32),
        )  # fmt: skip
        counts += np.bincount(drawn(logits, params).ids, minlength=V)
    p = np.exp(logits[0].astype(np.float64))
    expected = p / p.sum() * R * rounds
    chi = float(((counts - expected) ** 2 / expected).sum())
    assert chi < 26.1, chi  # 8 degrees of freedom, one in a thousand
