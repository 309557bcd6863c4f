"""The draw inside the generated kernel against the host's sampler, and its mailbox."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from cuda_host import Machine, compiler
from msgspec.structs import fields, replace
from test_mega_cuda_host import POOL, machine

from treadle.backends.mega.cuda_args import NO_MORE
from treadle.backends.sampler import sample
from treadle.types import Mask, SampleBatch

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler on this machine")

ROWS, VOCAB, WORDS = 2, 96, 3


@pytest.fixture(scope="module")
def small() -> Machine:
    """Two rows; every third token's logit equals that of the token before."""

    def twins(params: dict[str, Any]) -> None:
        head = params["head"]
        head[2::3] = head[1::3]

    made = machine("qwen2-rows", change=twins)[2]
    made.kv[:] = 0
    assert made.kv.shape[1] == POOL
    return made


def params(rows: int = ROWS, **changes: Any) -> SampleBatch:
    """Greedy but for the changes."""
    none = {"bias_ptr": [0] * (rows + 1), "bias_ids": [], "bias_values": []}
    none |= {"pen_ptr": [0] * (rows + 1), "pen_ids": [], "pen_out": []}
    kinds = {"key": np.uint64, "top_k": np.int32, "step": np.int32, "logprobs": np.int32}
    default = {"top_p": 1.0, "repetition": 1.0, "logprobs": -1}
    found: dict[str, Any] = {}
    for name in (f.name for f in fields(SampleBatch)):
        if name in none:
            found[name] = np.array(none[name], np.float32 if name == "bias_values" else np.int32)
        else:
            value = changes.get(name, default.get(name, 0))
            found[name] = np.broadcast_to(np.array(value, kinds.get(name, np.float32)), rows).copy()
    return SampleBatch(**found)


def bits(legal: np.ndarray) -> np.ndarray:
    """bool [N, V] to int32 [N, W]."""
    return np.packbits(legal, axis=1, bitorder="little").view(np.int32)


def test_draws_equal_the_samplers(small: Machine) -> None:
    """Random rules and masks; equals at the end of a nucleus are common here."""
    rng = np.random.default_rng(4)
    same = 0
    for turn in range(10):
        some = rng.random(ROWS)
        rule = params(
            temperature=rng.choice([0, 0.2, 0.7, 1, 3], ROWS),
            top_k=rng.choice([0, 1, 2, 5, 40, 200], ROWS),
            top_p=rng.choice([1, 0.999, 0.9, 0.5, 0.05], ROWS),
            min_p=rng.choice([0, 0, 0.02, 0.5], ROWS),
            key=rng.integers(0, 2**63, ROWS),
            step=rng.integers(0, 5000, ROWS),
        )
        mask = None
        if turn % 3:
            legal = rng.random((ROWS, VOCAB)) < rng.choice([0.02, 0.3, 0.9])
            named = np.flatnonzero(some < 0.7).astype(np.int32)
            mask = Mask(bits(legal[named]), named)
        small.boxes.post(0, rule, mask)
        begin = [(int(rng.integers(VOCAB)), 3), (int(rng.integers(VOCAB)), 70)]
        whole, tokens, logits = small.run(begin, 1, seed=turn, rules="same")
        assert whole, small.error
        wanted = sample(logits, mask, rule)
        assert tokens[0].view(np.int32).tolist() == wanted.ids.tolist(), (turn, rule, mask)
        assert small.tokens[0, :, 2].tolist() == wanted.status.tolist()
        same += int((wanted.ids != logits.argmax(1)).sum())
    assert same > 5  # that many draws were not the likeliest token's


def test_logits_that_are_not_finite_are_told(small: Machine) -> None:
    before, small.pool = small.pool, small.pool.copy()
    try:
        small.pool[-40:] = np.nan
        small.boxes.post(0, params())
        whole, tokens, _ = small.run([(1, 3), (2, 70)], 1, rules="same")
        assert whole, small.error
        assert tokens.view(np.int32).tolist() == [[-1, -1]]
        assert (small.tokens[..., 2] == 2).all()
    finally:
        small.pool = before


def test_noise_goes_on_with_the_steps(small: Machine) -> None:
    """One box for a launch draws what a box a launch does."""
    rule = params(temperature=1.3, key=[5, 6], step=[10, 20])
    legal = np.random.default_rng(6).random((1, VOCAB)) < 0.3
    begin = [(3, 3), (4, 70)]
    mask = Mask(bits(legal), np.array([1], np.int32))
    small.boxes.post(0, rule, mask)
    whole, together, _ = small.run(begin, 3, rules="same")
    assert whole, small.error
    for step in range(3):
        small.boxes.post(0, replace(rule, step=rule.step + step), mask)
        tokens = small.run(begin, 1, seed=step, rules="same")[1]
        assert tokens[0].tolist() == together[step].tolist()
        begin = [(int(t), p + 1) for t, (_, p) in zip(tokens[0], begin, strict=True)]


@pytest.mark.parametrize("stop", [1, 4])
def test_masks_arrive_while_the_kernel_runs(small: Machine, stop: int) -> None:
    """The host writes each mask from the token before, in the loop, and ends the launch early."""
    begin = [(3, 3), (4, 70)]
    rng = np.random.default_rng(stop)
    small.boxes.clear()
    small.allowed[0] = 1
    seen: list[list[int]] = []
    faults: list[str] = []

    def told(step: int) -> list[int]:
        while not small.tokens[step, :, 3].all():  # a row's own epoch comes with it
            time.sleep(0)
        return small.tokens[step, :, 0].tolist()

    def host() -> None:
        last = [t for t, _ in begin]
        while len(small.tokens) != 8 or small.tokens.any():
            time.sleep(0)
        for step in range(stop):
            legal = np.zeros((ROWS, VOCAB), bool)
            for row in range(ROWS):  # a token's own neighbours
                legal[row, [(last[row] + k) % VOCAB for k in (7, 8, 30)]] = True
            time.sleep(0.02 * float(rng.random()))
            small.boxes.post(step, params(temperature=0.8, key=9, step=step),
                             Mask(bits(legal), np.arange(ROWS, dtype=np.int32)))  # fmt: skip
            if step + 1 < stop:
                small.allowed[0] = step + 2
            last = told(step)
            seen.append(last)
            faults.extend(f"{step} {row}" for row in range(ROWS) if not legal[row, last[row]])
        small.allowed[0] = stop | NO_MORE

    thread = threading.Thread(target=host)
    thread.start()
    whole, tokens, _ = small.run(begin, 8, seed=stop, rules="each")
    thread.join()
    assert whole, small.error
    assert not faults
    assert tokens[:stop].tolist() == seen
    assert not tokens[stop:].any()
    small.epoch -= (8 - stop) * small.made.phases_a_step
    small.boxes.post(0, params())
    again = small.run([(int(t), p + stop) for t, (_, p) in zip(seen[-1], begin, strict=True)], 2,
                      rules="same")  # fmt: skip
    assert again[0], small.error
