"""CUDA rings: shared as descriptors between two processes, views, a replayed graph.

Runs where a CUDA device is, with pytest or alone, and needs neither `_core` nor the sandbox:
    PYTHONPATH=python python tests/kernels/test_run_cuda.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

ROWS, WIDTH, CALLS = 64, 1024, 16


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda_device")
def test_rings_travel_between_processes() -> None:
    from treadle.kernels.run.cuda import DeviceMemory

    size = CALLS * ROWS * WIDTH * 4
    inputs, outputs = DeviceMemory(size), DeviceMemory(size)
    given = inputs.view(0, (CALLS, ROWS, WIDTH), np.dtype("f4"))
    given[...] = np.random.default_rng(0).standard_normal(given.shape)
    outputs.bytes[:] = 0xFF
    inputs.push()
    outputs.push()
    shared = [inputs.share(), outputs.share()]
    words = [str(n) for n in (*shared, inputs.size, outputs.size)]
    child = subprocess.run(
        [sys.executable, __file__, "child", *words], pass_fds=shared, check=False, timeout=300,
        capture_output=True, text=True, env={**os.environ},
    )  # fmt: skip
    for descriptor in shared:
        os.close(descriptor)
    assert child.returncode == 0, child.stderr[-2000:]
    outputs.pull()
    made = outputs.view(0, given.shape, np.dtype("f4"))
    np.testing.assert_array_equal(made, given * 2)
    print(child.stdout.strip())
    inputs.close()
    outputs.close()


def child(source: int, target: int, first: int, second: int) -> None:
    """The harness's part: views of every call, one captured graph, a few replays."""
    import torch

    from treadle.kernels.run.cuda import CudaViews

    views = CudaViews(source, target, (first, second), torch)
    step = ROWS * WIDTH * 4
    calls = [
        [views.view((place, n * step, (ROWS, WIDTH)), "<f4", "float32") for place in (0, 1)]
        for n in range(CALLS)
    ]

    def run() -> None:
        for x, y in calls:
            torch.mul(x, 2.0, out=y)

    replay = views.planned(run)
    replay()
    times: list[int] = []
    for _ in range(50):
        start = time.perf_counter_ns()
        replay()
        times.append(time.perf_counter_ns() - start)
    print(f"{sorted(times)[25] / CALLS / 1e3:.2f} us a call, {CALLS} calls a graph")


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(*(int(word) for word in sys.argv[2:6]))
    else:
        test_rings_travel_between_processes()
        print("ok")
