"""The host sampler against transformers' warpers and textbook formulas; the device's against it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy import params
from transformers.generation import logits_process as hf

from treadle.backends import sampler
from treadle.backends.torch.draw import draw
from treadle.types import Mask

RNG = np.random.default_rng(11)


def host(logits, mask, values):
    return sampler.sample(logits, mask, values)


def device(logits, mask, values):
    return draw(torch.from_numpy(logits), mask, values).collect()


def support(z, top_k, top_p, min_p):
    """Ids that transformers leaves of logits z [V]."""
    scores = torch.from_numpy(z[None].copy())
    ids = torch.zeros((1, 1), dtype=torch.long)
    if top_k:
        scores = hf.TopKLogitsWarper(top_k)(ids, scores)
    if top_p < 1:
        scores = hf.TopPLogitsWarper(top_p)(ids, scores)
    if min_p:
        scores = hf.MinPLogitsWarper(min_p)(ids, scores)
    return np.flatnonzero(np.isfinite(scores[0].numpy()))


@pytest.mark.parametrize("spread", [0.3, 1.0, 4.0, 30.0])
@pytest.mark.parametrize("vocab", [7, 300, 5000])
@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"),
    [
        (5, 1.0, 0.0), (0, 0.9, 0.0), (0, 1e-6, 0.0), (0, 0.9999, 0.0), (0, 1.0, 0.1),
        (40, 0.7, 0.0), (40, 0.7, 0.2), (6000, 0.5, 0.5), (1, 1.0, 0.0),
    ],
)  # fmt: skip
def test_truncation_equals_transformers(spread, vocab, top_k, top_p, min_p):
    z = (RNG.standard_normal(vocab) * spread).astype(np.float32)
    z -= z.max()
    kept = sampler.truncate(z, top_k, top_p, min_p)
    want = support(z, top_k, top_p, min_p)
    assert (np.arange(vocab) if kept is None else kept).tolist() == want.tolist()


def test_ties_go_to_the_lowest_ids():
    z = np.array([-1, 0, -1, 0, -1, -9], np.float32)
    assert sampler.truncate(z, 3, 1.0, 0.0).tolist() == [0, 1, 2, 3, 4]  # as likely as the third
    third = 1 / (2 + 3 * np.exp(-1) + np.exp(-9))
    assert sampler.truncate(z, 0, 1.5 * third, 0.0).tolist() == [1, 3]
    assert sampler.truncate(z, 0, 2.2 * third, 0.0).tolist() == [0, 1, 3]
    for run in (host, device):
        assert run(z[None], None, params(1)).ids.tolist() == [1]
        drawn = run(z[None], None, params(1, logprobs=4))
        assert drawn.top_ids.tolist() == [[1, 3, 0, 2]]


def chi_square(counts, probabilities):
    expected = probabilities * counts.sum()
    return ((counts - expected) ** 2 / expected).sum()


@pytest.mark.parametrize("run", [host, device])
@pytest.mark.parametrize(
    "values",
    [{"temperature": 1.0}, {"temperature": 0.6, "top_k": 6}, {"temperature": 1.5, "top_p": 0.8},
     {"temperature": 1.0, "min_p": 0.1}],
)  # fmt: skip
def test_draws_follow_the_distribution(run, values):
    V, draws = 12, 20_000 if run is device else 4_000
    z = (np.random.default_rng(5).standard_normal(V) * 1.5).astype(np.float32)
    warped = z / values["temperature"]
    left = support(warped, values.get("top_k", 0), values.get("top_p", 1.0), values.get("min_p", 0))
    counts = np.zeros(V)
    for key in range(4):
        n = draws // 4
        steps = np.arange(n) if key % 2 else np.zeros(n)
        keys = np.full(n, key) if key % 2 else np.arange(n) + (key << 40)
        batch = params(n, step=steps, key=keys, **values)
        counts += np.bincount(run(np.tile(z, (n, 1)), None, batch).ids, minlength=V)
    assert counts.sum() == counts[left].sum()
    wide = np.exp(warped[left].astype(np.float64))
    # 99.99 % of chi-square with up to 11 degrees of freedom lies below 38.
    assert chi_square(counts[left], wide / wide.sum()) < 38


@pytest.mark.parametrize("run", [host, device])
def test_a_token_depends_on_seed_and_step_alone(run):
    R, V = 9, 400
    logits = RNG.standard_normal((R, V)).astype(np.float32) * 3
    names = {
        "temperature": RNG.choice([0.0, 0.5, 1.0, 2.0], R), "top_k": RNG.choice([0, 3, 50], R),
        "top_p": RNG.choice([1.0, 0.4, 0.95], R), "min_p": RNG.choice([0.0, 0.05], R),
        "key": RNG.integers(0, 2**63, R), "step": RNG.integers(0, 999, R),
    }  # fmt: skip
    whole = run(logits, None, params(R, **names)).ids
    order = RNG.permutation(R)
    turned = run(logits[order], None, params(R, **{k: v[order] for k, v in names.items()})).ids
    assert turned.tolist() == whole[order].tolist()
    for r in range(R):
        one = run(logits[r : r + 1], None, params(1, **{k: v[r] for k, v in names.items()}))
        assert one.ids.tolist() == [whole[r]]
    hot = {"temperature": 2.0, "key": np.arange(50), "step": 3}
    same = np.tile(logits[:1], (50, 1))
    assert len(set(run(same, None, params(50, **hot)).ids.tolist())) > 10
    assert len(set(run(same, None, params(50, **hot | {"key": 3, "step": np.arange(50)})).ids)) > 10


@pytest.mark.parametrize("spread", [0.1, 3.0, 12.0])
def test_pruning_never_changes_the_draw(spread):
    V = 3000
    z = (RNG.standard_normal((40, V)) * spread).astype(np.float32)
    values = params(40, temperature=1.0, key=np.arange(40), step=5)
    full = draw(torch.from_numpy(z), None, values).collect().ids  # computes every token's noise
    assert host(z, None, values).ids.tolist() == full.tolist()


def test_penalties_and_bias_equal_the_formulas():
    V = 50
    x = RNG.standard_normal(V).astype(np.float32) * 4
    counts = {3: 0, 7: 2, 8: 1, 49: 5}
    row = params(1, seen={0: counts}, repetition=1.7, presence=0.6, frequency=-0.3)
    got = sampler.adjust(x, row, 0)
    ids = torch.tensor([list(counts)])
    want = hf.RepetitionPenaltyLogitsProcessor(1.7)(ids, torch.from_numpy(x[None].copy()))[
        0
    ].numpy()
    for i, count in counts.items():
        want[i] += 0.3 * count - 0.6 * (count > 0)  # the prompt's own tokens are not penalised
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    biased = sampler.adjust(x, params(1, bias={0: {1: 5.5, 2: -100.0}}, seen={0: {1: 0}},
                                      repetition=2.0), 0)  # fmt: skip
    first = x[1] + np.float32(5.5)  # the bias comes before the penalty
    assert biased[1] == (first / 2 if first > 0 else first * 2)
    assert biased[2] == x[2] - 100
    np.testing.assert_array_equal(np.delete(biased, [1, 2]), np.delete(x, [1, 2]))


def test_logprobs_are_of_the_raw_logits():
    logits = (RNG.standard_normal((4, 900)) * 5).astype(np.float32)
    want = torch.log_softmax(torch.from_numpy(logits).double(), -1)
    values = params(
        4, temperature=0.7, top_k=3, bias={0: {5: 9.0}}, key=np.arange(4), logprobs=[20, 0, -1, 7]
    )
    for run in (host, device):
        drawn = run(logits, None, values)
        assert np.isnan(drawn.logprobs).tolist() == [False, False, True, False]
        rows = torch.tensor([0, 1, 3])
        own = want[rows, torch.from_numpy(drawn.ids[[0, 1, 3]]).long()]
        np.testing.assert_allclose(drawn.logprobs[[0, 1, 3]], own, rtol=1e-5)
        for r, count in ((0, 20), (3, 7)):
            top = want[r].topk(count)
            assert drawn.top_ids[r, :count].tolist() == top.indices.tolist()
            np.testing.assert_allclose(drawn.top_logprobs[r, :count], top.values, rtol=1e-5)
            assert set(drawn.top_ids[r, count:].tolist()) <= {-1}


def test_the_device_sampler_equals_the_host_on_everything_at_once():
    R, V = 64, 1234
    logits = (RNG.standard_normal((R, V)) * 4).astype(np.float32)
    logits[5, 3], logits[6, 9] = np.nan, -np.inf
    bits = RNG.integers(-(2**31), 2**31, (20, -(-V // 32)), np.int64).astype(np.int32)
    bits[4] = 0
    mask = Mask(bits, RNG.permutation(R)[:20].astype(np.int32))
    lists = {
        kind: {r: {int(i): v for i in RNG.integers(0, V, 3)} for r in range(0, R, 2)}
        for kind, v in (("bias", 2.5), ("seen", 2))
    }
    values = params(
        R,
        temperature=RNG.choice([0.0, 0.01, 0.7, 1.0, 2.0], R),
        top_k=RNG.choice([0, 0, 1, 20, 5000], R),
        top_p=RNG.choice([1.0, 1.0, 0.3, 0.95], R),
        min_p=RNG.choice([0.0, 0.0, 0.1], R),
        presence=RNG.choice([0.0, 1.5], R),
        frequency=RNG.choice([0.0, -0.5], R),
        repetition=RNG.choice([1.0, 1.4], R),
        key=RNG.integers(0, 2**63, R),
        step=RNG.integers(0, 2**31, R),
        logprobs=RNG.choice([-1, 0, 5], R),
        **lists,
    )
    a, b = host(logits, mask, values), device(logits, mask, values)
    assert set(a.status.tolist()) == {0, 1, 2}
    for name in ("ids", "status", "top_ids"):
        assert getattr(a, name).tolist() == getattr(b, name).tolist(), name
    np.testing.assert_allclose(a.logprobs, b.logprobs, rtol=1e-5)
    np.testing.assert_allclose(a.top_logprobs, b.top_logprobs, rtol=1e-5)


@pytest.mark.parametrize("run", [host, device])
def test_extreme_temperatures_and_masks_stay_finite(run):
    logits = np.array([[1e30, -1e30, 0.0, 3.0]], np.float32)
    for temperature in (1e-38, 1e-6, 2.0):
        assert run(logits, None, params(1, temperature=temperature)).ids.tolist() == [0]
    mask = Mask(np.array([[0b1000]], np.int32), np.zeros(1, np.int32))
    values = params(1, temperature=1.0, top_p=0.1, min_p=0.9, top_k=1, bias={0: {0: 100.0}})
    assert run(logits, mask, values).ids.tolist() == [3]
