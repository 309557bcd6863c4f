"""Marks of workers whose clocks share neither zero nor rate come out on one clock."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_host import compiler
from test_mega_cuda_host import machine

from treadle.backends.mega import cuda_trace
from treadle.cli.mega_trace import TraceConfig
from treadle.cli.mega_trace_cuda import written
from treadle.mega.codegen_program import Knobs
from treadle.mega.records import Code
from treadle.mega.timeline import steps


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


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler on this machine")
def test_tracing_changes_no_bit_and_tells_every_phase(tmp_path: Path) -> None:
    """The kernel on fibers with marks and without; then the spans, the picture, the timeline."""
    results: list[tuple[Any, Any]] = []
    for knobs in (Knobs(), Knobs(trace=True)):
        m = machine("llama", knobs=knobs)[2]
        m.kv[:] = 0
        whole, tokens, logits = m.run([(5, 61)], 3)
        assert whole, m.error
        results.append((tokens, logits))
    for plain, traced in zip(*results, strict=True):
        assert np.array_equal(plain, traced)
    plan, workers = m.made.plan, m.made.plan.workers
    us = cuda_trace.aligned(m.trace)
    found = cuda_trace.spans(plan, us)
    for worker in range(workers):
        own = [span for span in found if span.worker == worker]
        assert all(a.end <= b.start for a, b in pairwise(own))
        work = [span for span in own if span.kind != "wait"]
        wanted = [(Code(s.op).name.lower(), n) for n, s in enumerate(plan.sites) if n]
        assert [span.kind for span in work] == [kind for kind, _ in wanted]
        assert [span.layer for span in work if span.kind == "attn"] == [0, 1, 2]
        held = cuda_trace.held(m.made, us, worker)
        assert held[-1, 1] == held[:, 1].min() == 0
        tiles = sum(p.strips * p.klen for p in m.made.pieces[worker])
        assert len(held) == 2 * tiles
    (step,) = steps(found, workers, ("sample",))
    assert sum(step.by.values()) == pytest.approx((step.end - step.start) * workers)
    config = TraceConfig(output=str(tmp_path / "t.json"), picture=str(tmp_path / "t.svg"))
    written(config, "tiny", m.made, m.trace)
    drawn = (tmp_path / "t.svg").read_text()
    assert "linear head" in drawn
    assert drawn.count("worker 3<") == 2  # the step and one of its layers
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert len([e for e in events if e["ph"] == "X"]) == len(found)
    assert len({e["name"] for e in events if e["ph"] == "C"}) == 3
