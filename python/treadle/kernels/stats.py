"""Which of two kernels is faster, from interleaved rounds.

A round times baseline and candidate once each, in random order, on one device. The statistic is
the median over rounds of log(t_baseline / t_candidate), with a percentile bootstrap interval. The
run is looked at after 30, 60, 120 and 240 rounds; the error budget is split over the looks, so
that peeking does not add false verdicts. Times of one round share the drift of the machine, which
cancels in their ratio.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from treadle.errors import InvalidRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOOKS = (30, 60, 120, 240)
RESAMPLES = 1000
LEVEL = 0.99
CLEAR = 0.005
SAME = 0.02
NARROW = 0.01

Pair: TypeAlias = "tuple[float, float]"
"""Seconds of baseline and candidate in one round."""


class Verdict(StrEnum):
    """FAST or SLOW: the interval clears ±0.5 %. SAME: it lies inside ±2 %. Else UNCLEAR."""

    FAST = "FAST"
    SLOW = "SLOW"
    SAME = "SAME"
    UNCLEAR = "UNCLEAR"


@dataclass(frozen=True, slots=True)
class Comparison:
    """n rounds; ratio = baseline over candidate time, above 1 where the candidate is faster."""

    n: int
    ratio: float
    low: float
    high: float
    verdict: Verdict
    baseline: float
    candidate: float


def interval(
    values: Sequence[float] | NDArray[np.float64], level: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Percentile bootstrap of the median, widened to the order statistics a sign test gives.

    The bootstrap of a median of few values is too narrow now and then; the sign test's interval
    holds at its level whatever the distribution. Raises InvalidRequest for no values or a value
    that is not finite.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    if not len(ordered) or not np.isfinite(ordered).all():
        raise InvalidRequest("the median needs finite values", hint="discard failed rounds first")
    picks = rng.integers(0, len(ordered), (RESAMPLES, len(ordered)))
    medians = np.median(ordered[picks], axis=1)
    tail = (1.0 - level) / 2
    low, high = (float(v) for v in np.quantile(medians, [tail, 1.0 - tail]))
    rank = _sign_rank(len(ordered), tail)
    return min(low, float(ordered[rank])), max(high, float(ordered[-1 - rank]))


def compare(pairs: Sequence[Pair], seed: int = 0, *, level: float = LEVEL) -> Comparison:
    """Judges the rounds there are; so few that no interval holds at `level` give UNCLEAR.

    Raises InvalidRequest for none, or a time that is no time.
    """
    times = np.asarray(pairs, np.float64).reshape(-1, 2)
    if not len(times) or not (np.isfinite(times).all() and (times > 0).all()):
        raise InvalidRequest(
            "rounds need positive times", hint="floor times at the timer's resolution"
        )
    logs = np.log(times[:, 0] / times[:, 1])
    low, high = interval(logs, level, np.random.default_rng([seed, len(logs)]))
    # All of n values lie on one side of the median with a chance of 2 / 2^n.
    enough = 2.0 ** (1 - len(logs)) <= 1.0 - level
    return Comparison(
        n=len(logs),
        ratio=math.exp(float(np.median(logs))),
        low=math.exp(low),
        high=math.exp(high),
        verdict=_verdict(low, high) if enough else Verdict.UNCLEAR,
        baseline=float(np.median(times[:, 0])),
        candidate=float(np.median(times[:, 1])),
    )


def race(
    measure: Callable[[int], Iterable[Pair]], seed: int = 0, *, looks: Sequence[int] = LOOKS
) -> Comparison:
    """Measures until the interval is narrow and the verdict settled, or the looks are used up.

    `measure(n)` gives n further rounds, fewer where time is up. Raises InvalidRequest where it
    never gives any.
    """
    level = 1.0 - (1.0 - LEVEL) / len(looks)
    pairs: list[Pair] = []
    found: Comparison | None = None
    for look in looks:
        wanted = look - len(pairs)
        pairs += measure(wanted)
        found = compare(pairs, seed, level=level)
        settled = found.verdict is not Verdict.UNCLEAR
        half = (math.log(found.high) - math.log(found.low)) / 2
        if len(pairs) < look or (settled and (half <= NARROW or found.verdict is not Verdict.SAME)):
            break
    assert found is not None
    return found


def geometric_mean(
    ratios: Sequence[float], weights: Sequence[float], resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float, float]:
    """Weighted geometric mean with a 95 % interval over workloads: (mean, low, high)."""
    values, given = np.asarray(ratios, float), np.asarray(weights, float)
    if not len(values) or len(values) != len(given) or not (given > 0).all():
        raise InvalidRequest("each ratio needs a positive weight", hint="count failures as 1")
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise InvalidRequest("a ratio is not positive", hint="count failures as 1")
    logs = np.log(values)
    picks = np.random.default_rng(seed).integers(0, len(logs), (resamples, len(logs)))
    means = (logs[picks] * given[picks]).sum(1) / given[picks].sum(1)
    low, high = np.exp(np.quantile(means, [0.025, 0.975]))
    return math.exp(float(np.average(logs, weights=given))), float(low), float(high)


def fast_p(ratios: Sequence[float | None], p: float) -> float:
    """Share of all workloads that are correct and at least p times as fast; None is a failure."""
    if not ratios:
        raise InvalidRequest("no workloads", hint="give every workload of the set")
    return sum(r is not None and r >= p for r in ratios) / len(ratios)


def _verdict(low: float, high: float) -> Verdict:
    if low > math.log1p(CLEAR):
        return Verdict.FAST
    if high < -math.log1p(CLEAR):
        return Verdict.SLOW
    if low > -math.log1p(SAME) and high < math.log1p(SAME):
        return Verdict.SAME
    return Verdict.UNCLEAR


def _sign_rank(n: int, tail: float) -> int:
    """Largest rank r with P(Binomial(n, 1/2) < r) <= tail; the extremes for few values."""
    total, rank = 0.0, 0
    while rank < (n - 1) // 2:
        total += math.exp(
            math.lgamma(n + 1) - math.lgamma(rank + 1) - math.lgamma(n - rank + 1)
            - n * math.log(2)
        )  # fmt: skip
        if total > tail:
            break
        rank += 1
    return max(0, rank - 1)
