"""Correctness, on the referee's side: sizes and inputs of trials, oracles, tolerances, verdicts."""

from treadle.kernels.check.judge import Expected, Judge, Judgement
from treadle.kernels.check.oracle import Oracle

__all__ = ["Expected", "Judge", "Judgement", "Oracle"]
