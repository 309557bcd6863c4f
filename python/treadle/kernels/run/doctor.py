"""What this machine can measure: toolchains, walls, clocks, ceilings."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from treadle import _core
from treadle.kernels.run.player import environment, readable
from treadle.kernels.run.referee import open_device

_PROBE = (
    "import sys\n"
    "from pathlib import Path\n"
    "from treadle.kernels.run import sandbox\n"
    "wanted = int(sys.argv[1])\n"
    "level = sandbox.enter(wanted, [Path(p) for p in sys.argv[2:]], 16 << 30, 60)\n"
    "import numpy\n"
    "print(sandbox.lock(level, wanted))\n"
)


def findings(device: str, wanted: int = 4) -> dict[str, Any]:
    """Name → what was found, for people and as JSON."""
    opened = open_device(device)
    mine, theirs = opened.cores()
    found: dict[str, Any] = {
        "device": opened.name,
        "timer": opened.timer,
        "clock_step_ns": _core.clock_step_ns(),
        "isolation": isolation(wanted),
        "referee_cores": mine,
        "harness_cores": theirs,
        "run_queue_delays": Path("/proc/self/schedstat").exists(),
        **opened.facts(),
    }
    for tool in ("c++", "g++", "clang++", "nvcc", "perf"):
        found[tool] = shutil.which(tool) or "missing"
    for package in ("torch", "triton", "tvm_ffi", "tilelang", "wgpu"):
        found[package] = "here" if importlib.util.find_spec(package) else "missing"
    if len(os.sched_getaffinity(0)) < 2:
        found["warning"] = "one processor: referee and harness share it, times will be poor"
    return found


def isolation(wanted: int = 4) -> int:
    """The level that a harness reaches here; -1 if its libraries do not load behind the walls."""
    walls = [str(p) for p in readable(Path("/dev/null"))]
    made = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-S", "-c", _PROBE, str(wanted), *walls],
        env=environment(1), cwd="/", capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return int(made.stdout) if made.returncode == 0 and made.stdout.strip() else -1
