"""The two sampler kernels against the project's one rule of draws."""

from __future__ import annotations

from typing import Any

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


def drawn(logits: np.ndarray, params: SampleBatch, mask: Mask | None = None) -> np.ndarray:
    """Tokens of the kernels."""
    R, V = logits.shape
    words = np.zeros((R, 8), np.uint32)
    words[:, 0] = params.temperature.view(np.uint32)
    words[:, 1:3] = params.key[:, None].view(np.uint32)
    words[:, 3], words[:, 5] = params.step, np.arange(R)
    words[:, 4] = 0xFFFFFFFF
    if mask is not None:
        words[mask.rows, 4] = np.arange(len(mask.rows))
    tile, pick, adjust = kernels.sampler(V)
    count = kernels.tiles(V)
    given: dict[str, Any] = {
        "logits": logits, "draws": words, "tiles": np.zeros((R, count, 4), np.uint32),
        "mask": np.zeros(4, np.int32) if mask is None else mask.bits,
        "drawn": np.zeros(R, np.int32),
    }  # fmt: skip
    changed = entries(params)
    if changed[0]:
        penalties = np.zeros((R, 4), F32)
        penalties[:, 0], penalties[:, 1] = params.repetition, params.frequency
        penalties[:, 2] = params.presence
        given |= {"entries": changed, "penalties": penalties}
        given |= launch(adjust, given, (-(-int(changed[0]) // kernels.WG),))
    given |= launch(tile, given, (count, R))
    return read(launch(pick, given, (R,))["drawn"], np.int32, R)


def entries(params: SampleBatch) -> np.ndarray:
    """One entry a named token of a row: bias and penalty of the same token share it."""
    found: dict[tuple[int, int], list[float]] = {}
    for r in range(len(params.temperature)):
        for i in range(params.bias_ptr[r], params.bias_ptr[r + 1]):
            found.setdefault((r, int(params.bias_ids[i])), [0.0, 0])[0] += params.bias_values[i]
        for i in range(params.pen_ptr[r], params.pen_ptr[r + 1]):
            found.setdefault((r, int(params.pen_ids[i])), [0.0, 0])[1] = 1 + 2 * params.pen_out[i]
    out = np.zeros((len(found) + 1, 4), np.uint32)
    out[0, 0] = len(found)
    for i, ((row, token), (bias, flags)) in enumerate(found.items(), 1):
        out[i] = row, token, np.float32(bias).view(np.uint32), flags
    return out.reshape(-1)


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
        got = drawn(logits, params, given)
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
    got = drawn(logits, params)
    assert got.tolist() == np.where(wanted.status == NOT_FINITE, -2, wanted.ids).tolist()
    assert got[0] == 5
    assert got[2] == -2


def test_frequencies_are_those_of_the_softmax() -> None:
    V, R, rounds = 9, 64, 40
    logits = np.tile(np.linspace(-1, 1.5, V).astype(F32), (R, 1))
    counts = np.zeros(V)
    for step in range(rounds):
        params = plain(
            R, temperature=np.ones(R, F32), key=np.arange(R, dtype=np.uint64) + np.uint64(1 << 40),
            step=np.full(R, step, np.int32),
        )  # fmt: skip
        counts += np.bincount(drawn(logits, params), minlength=V)
    p = np.exp(logits[0].astype(np.float64))
    expected = p / p.sum() * R * rounds
    chi = float(((counts - expected) ** 2 / expected).sum())
    assert chi < 26.1, chi  # 8 degrees of freedom, one in a thousand
