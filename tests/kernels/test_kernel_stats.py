"""Verdicts: no false ones under noise and drift, true gains found, edges refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from treadle.errors import InvalidRequest
from treadle.kernels.stats import Verdict, compare, fast_p, geometric_mean, interval, race


def machine(rng: np.random.Generator, gain: float, noise: float = 0.01):
    """Rounds with noise, a drift of 2 % over the run, and 2 % of times 30 % too long."""
    at = 0

    def measure(n: int) -> list[tuple[float, float]]:
        nonlocal at
        pairs = []
        for _ in range(n):
            drift = 1 + 0.02 * at / 240
            spikes = np.where(rng.random(2) < 0.02, 1.3, 1.0)
            a, b = np.exp(rng.normal(0, noise, 2)) * spikes * drift
            pairs.append((1e-4 * a * gain, 1e-4 * b))
            at += 1
        return pairs

    return measure


def verdicts(gain: float, runs: int, noise: float = 0.01) -> list[Verdict]:
    return [
        race(machine(np.random.default_rng([seed, 7]), gain, noise), seed).verdict
        for seed in range(runs)
    ]


def test_equal_kernels_get_no_verdict_of_speed() -> None:
    found = verdicts(1.0, 500)
    assert sum(v in (Verdict.FAST, Verdict.SLOW) for v in found) <= 5
    assert sum(v is Verdict.SAME for v in found) >= 450


def test_a_gain_of_five_percent_is_found() -> None:
    assert sum(v is Verdict.FAST for v in verdicts(1.05, 200)) >= 190
    assert sum(v is Verdict.SLOW for v in verdicts(1 / 1.05, 200)) >= 190
    assert sum(v is Verdict.FAST for v in verdicts(1.05, 60, noise=0.03)) >= 57


def test_noise_that_hides_everything_is_unclear_not_same() -> None:
    assert set(verdicts(1.0, 20, noise=0.5)) <= {Verdict.UNCLEAR}


def test_intervals_hold_their_level() -> None:
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(400):
        low, high = interval(rng.standard_cauchy(30), 0.95, rng)
        missed += not low <= 0 <= high
    assert missed <= 32  # 5 % of 400 and three deviations


def test_race_stops_early_late_or_when_time_is_up() -> None:
    asked: list[int] = []

    def steady(n: int) -> list[tuple[float, float]]:
        asked.append(n)
        return [(2.0, 1.0)] * n

    assert (race(steady).verdict, asked) == (Verdict.FAST, [30])
    late = race(machine(np.random.default_rng(1), 1.0, noise=0.5))
    assert late.n == 240
    short = race(lambda n: [(1.0, 1.0)] * min(n, 4))
    assert (short.n, short.ratio) == (4, 1.0)
    with pytest.raises(InvalidRequest):
        race(lambda n: [])


def test_few_rounds_decide_nothing() -> None:
    """Six rounds all on one side happen by chance in 3 of 100 runs: more than the budget."""
    assert compare([(2.0, 1.0)] * 6).verdict is Verdict.UNCLEAR
    assert compare([(2.0, 1.0)] * 8).verdict is Verdict.FAST
    assert race(lambda n: [(2.0, 1.0)] * min(n, 9)).verdict is Verdict.UNCLEAR
    assert race(lambda n: [(2.0, 1.0)] * min(n, 10)).verdict is Verdict.FAST


@pytest.mark.parametrize("bad", [[(0.0, 1.0)], [(1.0, math.nan)], [(1.0, math.inf)], []])
def test_times_that_are_none_are_refused(bad: list[tuple[float, float]]) -> None:
    with pytest.raises(InvalidRequest):
        compare(bad)


def test_aggregates_count_failures() -> None:
    assert fast_p([2.0, None, 0.9, 1.0], 1.0) == 0.5
    mean, low, high = geometric_mean([2.0, 0.5, 1.0], [1, 1, 2])
    assert mean == pytest.approx(1.0)
    assert low <= 1.0 <= high
    with pytest.raises(InvalidRequest):
        geometric_mean([0.0], [1])
