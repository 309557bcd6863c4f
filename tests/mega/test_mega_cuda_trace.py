"""Marks of workers whose clocks share neither zero nor rate come out on one clock."""

from __future__ import annotations

import numpy as np

from treadle.backends.mega import cuda_trace


def test_clocks_that_wrap_are_laid_over_each_other() -> None:
    rng = np.random.default_rng(3)
    workers, phases, warps = 6, 20, cuda_trace.WARPS
    steps = rng.uniform(0.2, 4.0, (workers, phases, warps, cuda_trace.MARKS))
    true = 50 + np.cumsum(steps.swapaxes(1, 2).reshape(workers, warps, -1), axis=2)  # us
    true = true.reshape(workers, warps, phases, -1).swapaxes(1, 2)
    raw = np.zeros((workers, phases, warps, cuda_trace.WORDS), np.uint32)
    for worker in range(workers):
        begin, rate = rng.integers(0, 2**32), rng.uniform(1700, 1900)  # ticks a us
        begin = 2**32 - 60_000 if worker == 2 else begin  # wraps within the step
        raw[worker, ..., :5] = (begin + true[worker] * rate).astype(np.int64) % 2**32
        raw[worker, ..., 7] = (true[worker, ..., 0] * 1000).astype(np.int64) // 32 * 32 + 2**31
    raw[:, 4, :, 2] = 0  # a mark that nobody passed
    raw[1, 7, 3, 3] = raw[1, 7, 3, 0] - 10**8  # one passed in an earlier launch only
    us = cuda_trace.aligned(raw)
    assert np.isnan(us[:, 4, :, 2]).all()
    assert np.isnan(us[1, 7, 3, 3])
    known = ~np.isnan(us)
    error = us - (true - true[:, :, : warps - 1].min())
    assert np.abs(error[known] - np.median(error[known])).max() < 0.04
    took = cuda_trace.phases(us)
    ends = true[:, :, : warps - 1, 4].max(axis=2)
    assert np.allclose(took[1:, 0], np.diff(ends.max(axis=0)), atol=0.08)
    assert np.allclose(took[:, 2], ends.max(axis=0) - np.median(ends, axis=0), atol=0.08)
