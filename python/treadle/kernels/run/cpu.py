"""The CPU as a device: pinned cores, line flushes, and ceilings measured once a process."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from treadle import _core
from treadle.kernels.run.device import Ring
from treadle.kernels.run.ring import Memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

HELD, MOST_COPIES = 16 << 20, 16
SLACK = 2.0
"""Ceilings are measured in a virtual machine, under load: only twice as fast is impossible."""

_LEVELS = (
    ("x86-64-v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
    ("x86-64-v3", {"avx2", "bmi1", "bmi2", "fma"}),
    ("x86-64-v2", {"sse4_2", "ssse3", "popcnt"}),
)


class Cpu:
    """This machine's processor. share: cores stay unpinned, for machines that others use too."""

    kind = "cpu"
    shared = 4 << 20
    oracle = ""
    ahead = False
    slack = SLACK

    def __init__(self, *, share: bool = False) -> None:
        # Asked once: the referee pins itself afterwards.
        self._mine = [] if share else sorted(os.sched_getaffinity(0))
        self.name = name()
        self.timer = f"outer:clock_monotonic/{_core.clock_step_ns()}ns"
        self._walk: NDArray[np.int64] | None = None

    def allocate(self, size: int, *, read_only: bool) -> Ring:
        return Memory(size, "treadle-ring", read_only=read_only)

    def copies(self, size: int, *, held: bool = False) -> int:
        # Calls on much last long enough to be alone in a batch. Of what is small and held there
        # are enough copies that one has left a core's own cache when its turn comes again.
        return max(1, min(MOST_COPIES, -(-HELD // max(size, 1)))) if held else 1

    def evict(self) -> None:
        """Reads twice what the last level of cache holds."""
        if self._walk is None:
            self._walk = np.ones(2 * last_level() // 8, np.int64)
        self._walk.sum()

    def flush(self, memories: Sequence[Ring]) -> bool:
        flushed = [_core.flush_lines(memory.bytes) for memory in memories]
        return all(flushed)

    def cores(self) -> tuple[list[int], list[int]]:
        if len(self._mine) < 2:
            return [], []
        return self._mine[:1], self._mine[1:]

    def floor(self, moved: int, flops: float) -> float:
        bandwidth, rate = ceilings()
        count = os.cpu_count() or 1
        return max(moved / (bandwidth * count), flops / (rate * count)) / SLACK

    def facts(self) -> dict[str, str]:
        out = {"kernel": platform.release(), "numpy": np.__version__}
        base = Path("/sys/devices/system/cpu/cpu0/cpufreq")
        for key, file in (("governor", "scaling_governor"), ("khz", "scaling_cur_freq")):
            try:
                out[key] = (base / file).read_text().strip()
            except OSError:
                out[key] = "unknown"
        out["load"] = f"{os.getloadavg()[0]:.2f}"
        return out


@cache
def last_level() -> int:
    """Bytes of the largest cache of a processor; a guess where the system does not tell."""
    found = 32 << 20
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        with contextlib.suppress(OSError, ValueError):
            text = path.read_text().strip()
            found = max(found, int(text.rstrip("KM")) << (20 if text.endswith("M") else 10))
    return min(found, 256 << 20)


@cache
def name() -> str:
    """`cpu:<level of the instruction set>/<cores>c`."""
    level = platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text()
        flags = set(next(line for line in text.splitlines() if line.startswith("flags")).split())
        level = next((label for label, needed in _LEVELS if needed <= flags), level)
    except (OSError, StopIteration):
        pass
    return f"cpu:{level}/{os.cpu_count() or 1}c"


@cache
def ceilings() -> tuple[float, float]:
    """Bytes a second from the nearest caches and float operations a second, of one core.

    The best of many short runs through numpy's compiled loops. Outputs lie in no cache when a call
    begins, so a real kernel stays well below.
    """
    x = np.ones(4096, np.float32)
    y = np.empty_like(x)
    a = np.ones((256, 256), np.float32)
    out = np.empty_like(a)

    def best(action: str) -> float:
        least = 1.0
        for _ in range(60):
            start = time.perf_counter_ns()
            for _ in range(20 if action == "copy" else 1):
                if action == "copy":
                    np.copyto(y, x)
                else:
                    np.matmul(a, a, out=out)
            least = min(least, (time.perf_counter_ns() - start) * 1e-9)
        return least / (20 if action == "copy" else 1)

    return 2 * x.nbytes / best("copy"), 2 * 256**3 / best("multiply")
