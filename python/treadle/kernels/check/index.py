"""Routing: which experts a token takes, and with what weights; ties may be broken either way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.kernels.check.tolerance import Difference, Tolerance, compare

if TYPE_CHECKING:
    from numpy.typing import NDArray


def routed(
    logits: NDArray[np.float64],
    weights: NDArray[np.float64],
    chosen: NDArray[Any],
    attrs: Mapping[str, Any],
    rule: Tolerance | None = None,
) -> Difference:
    """Judges logits [T, E] → weights [T, A], chosen [T, A], best first.

    The logits are exact, so the chosen ones must equal the largest A as a multiset; weights are
    then compared with the scores of what was chosen.
    """
    rows, count = chosen.shape
    if not rows or not count:
        return Difference()
    if int(chosen.min()) < 0 or int(chosen.max()) >= logits.shape[1]:
        return _wrong("an index out of range")
    if count > 1 and (np.diff(np.sort(chosen, -1), axis=-1) == 0).any():
        return _wrong("an index twice in one row")
    taken = np.take_along_axis(logits, chosen.astype(np.int64), -1)
    best = -np.sort(-logits, -1)[:, :count]
    if not np.array_equal(taken, best):
        return _wrong(
            f"{int((taken != best).any(-1).sum())} rows do not hold the largest, in order"
        )
    score = _sigmoid(logits) if attrs.get("score") == "sigmoid" else _softmax(logits)
    wanted = np.take_along_axis(score, chosen.astype(np.int64), -1)
    if attrs.get("renorm"):
        wanted = wanted / wanted.sum(-1, keepdims=True)
    return compare(weights, wanted, wanted.astype(np.float32).astype(np.float64), "float32", rule)


def _wrong(reason: str) -> Difference:
    return Difference(reason, np.inf, np.inf, np.inf, np.inf)


def _softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-x))
