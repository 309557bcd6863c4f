"""Several machines, by Ray (extra `[ray]`)."""

from treadle.cluster.eval_pool import EvalPool

__all__ = ["EvalPool"]
