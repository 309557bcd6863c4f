"""Samplers: no token without mass, and draws that follow the distribution.

Draws of one known distribution go into a G-test on cells whose expectation is at least 20, the tail
pooled into bins of equal mass. Draws of many distributions are mapped to [0, 1] by the randomised
probability integral transform over tokens in falling order and tested for evenness: so that every
audited call counts, and no call looks like a test. Source: Sokal and Rohlf, Biometry, on G;
Czado et al. 2009 on the transform.
"""

# numpy's own annotations leave element types open; what strict mode cannot see is tested.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXPECTED = 20.0
ALPHA = 1e-4
BINS = 32


def masses(inputs: Mapping[str, Any]) -> NDArray[np.float64]:
    """Normalised probabilities [rows, V] after top_k, then top_p; ties at a border all stay."""
    probs = np.asarray(inputs["probs"], np.float64)
    kept = probs.copy()
    for row in range(len(kept)):
        p = kept[row]
        if "top_k" in inputs:
            k = int(inputs["top_k"][row])
            if 0 < k < len(p):
                p = np.where(p >= np.partition(p, -k)[-k], p, 0.0)
        p = p / p.sum()
        if "top_p" in inputs:
            p = _nucleus(p, float(inputs["top_p"][row]))
        kept[row] = p / p.sum()
    return kept


def doubtful(inputs: Mapping[str, Any], tolerance: float = 2e-6) -> Any:
    """Rows where float32 sums may put the border of top_p at another token."""
    if "top_p" not in inputs:
        return np.zeros(len(inputs["probs"]), bool)
    plain = {name: value for name, value in inputs.items() if name != "top_p"}
    sums = np.cumsum(-np.sort(-masses(plain), -1), -1)
    return (np.abs(sums - np.asarray(inputs["top_p"], np.float64)[:, None]) < tolerance).any(-1)


def outside(mass: NDArray[np.float64], draws: NDArray[np.int64]) -> int:
    """How many draws have no mass or are no token."""
    legal = (draws >= 0) & (draws < mass.shape[1])
    hit = mass[np.arange(len(draws)), np.where(legal, draws, 0)] > 0
    return int((~(legal & hit)).sum())


def transform(
    mass: NDArray[np.float64], draws: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """A number in [0, 1) for each draw, uniform if draws follow `mass`; likely ones first."""
    everything: Any = mass
    own = everything[np.arange(len(draws)), draws]
    token = np.arange(everything.shape[1])
    first = (everything > own[:, None]) | ((everything == own[:, None]) & (token < draws[:, None]))
    return np.where(first, mass, 0.0).sum(-1) + rng.random(len(draws)) * own


def even(values: NDArray[np.float64]) -> float:
    """Probability of values this uneven on [0, 1), if each is uniform; 1 where there are few."""
    bins = min(BINS, int(len(values) // EXPECTED))
    if bins < 2:
        return 1.0
    counts = np.bincount((np.clip(values, 0, 1 - 1e-12) * bins).astype(int), minlength=bins)
    return g_test(counts, np.full(bins, len(values) / bins))


def follows(mass: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Probability of token counts [V] this far from `mass` [V]; 0 for a token without mass."""
    if counts[mass == 0].any():
        return 0.0
    expected = mass * counts.sum()
    order = np.argsort(-expected, kind="stable")
    found, wanted = counts[order], expected[order]
    alone = int((wanted >= EXPECTED).sum())
    rest = wanted[alone:].sum()
    bins = int(rest // EXPECTED)
    cells, expectations = list(found[:alone]), list(wanted[:alone])
    if bins:
        place = np.minimum((np.cumsum(wanted[alone:]) / rest * bins).astype(int), bins - 1)
        cells += list(np.bincount(place, weights=found[alone:], minlength=bins))
        expectations += list(np.bincount(place, weights=wanted[alone:], minlength=bins))
    elif rest > 0 and cells:
        cells[-1] += found[alone:].sum()
        expectations[-1] += rest
    return g_test(np.array(cells, float), np.array(expectations, float))


def g_test(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """P(G at least this large) for counts and their expectations of equal sum."""
    keep = wanted > 0
    found, wanted = found[keep].astype(float), wanted[keep]
    if len(found) < 2:
        return 1.0
    hit = found > 0
    g = 2 * float((found[hit] * np.log(found[hit] / wanted[hit])).sum())
    return chi_square_tail(max(g, 0.0), len(found) - 1)


def chi_square_tail(value: float, freedom: int) -> float:
    """P(X >= value) of a chi-square variable: the regularised upper incomplete gamma function."""
    a, x = freedom / 2, value / 2
    if x <= 0:
        return 1.0
    scale = a * math.log(x) - x - math.lgamma(a)
    if x < a + 1:  # the series of the lower function
        term = total = 1.0 / a
        n = a
        while term > total * 1e-12:
            n += 1
            term *= x / n
            total += term
        return max(0.0, 1.0 - total * math.exp(scale))
    b, c = x + 1 - a, 1e300  # Lentz's continued fraction of the upper one
    d = 1 / b
    h = d
    for i in range(1, 10_000):
        step = -i * (i - a)
        b += 2
        d = 1 / (step * d + b)
        c = b + step / c
        h *= c * d
        if abs(c * d - 1) < 1e-12:
            break
    return min(1.0, h * math.exp(scale))


def _nucleus(p: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    if limit >= 1.0:
        return p
    order = np.argsort(-p, kind="stable")
    before = np.cumsum(p[order]) - p[order]
    last = p[order][max(int((before <= max(limit, 0.0)).sum()) - 1, 0)]
    return np.where(p >= last, p, 0.0)
