"""What a solution must leave as it found it: clocks, statistics, comparisons, global switches.

Runs in the untrusted process, so it proves nothing; it names what the outer clock and the referee
make useless anyway, and keeps solutions out that would change the engine they are loaded into.
"""

from __future__ import annotations

import builtins
import ctypes
import gc
import os
import signal
import statistics
import sys
import threading
import time
from typing import Any

_CLOCKS = ("time", "time_ns", "perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns",
           "process_time", "process_time_ns", "thread_time", "sleep", "clock_gettime")  # fmt: skip
_MEANS = ("mean", "fmean", "median", "geometric_mean", "stdev", "quantiles")
_NUMPY_CHECKS = (
    "allclose",
    "isclose",
    "array_equal",
    "array_equiv",
    "isnan",
    "isfinite",
    "testing",
)
_NUMPY_MEANS = ("mean", "median", "average", "std", "quantile", "percentile")
_TORCH_CHECKS = ("allclose", "isclose", "equal", "testing")
_EXITS = ("_exit", "abort", "kill", "fork", "write")
_PERSISTING_L2_CACHE_SIZE = 6  # CUlimit


def snapshot() -> dict[str, dict[str, Any]]:
    """Code of a refusal → name → what stands there now."""
    found: dict[str, dict[str, Any]] = {
        "timer_patch": {f"time.{n}": getattr(time, n, None) for n in _CLOCKS},
        "stats_patch": {f"statistics.{n}": getattr(statistics, n, None) for n in _MEANS},
        "checker_patch": {f"builtins.{n}": getattr(builtins, n) for n in ("abs", "max", "all")},
        "result_forge": {f"os.{n}": getattr(os, n, None) for n in _EXITS},
        "global_state": {
            "sys.settrace": sys.gettrace(),
            "sys.setprofile": sys.getprofile(),
            "threading.excepthook": threading.excepthook,
            "sys.excepthook": sys.excepthook,
            "gc.isenabled": gc.isenabled(),
            "gc.callbacks": len(gc.callbacks),
            "SIGALRM": signal.getsignal(signal.SIGALRM),
            "cpus": frozenset(os.sched_getaffinity(0)),
        },
    }
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None:
        found["checker_patch"] |= {f"numpy.{n}": getattr(numpy, n, None) for n in _NUMPY_CHECKS}
        found["stats_patch"] |= {f"numpy.{n}": getattr(numpy, n, None) for n in _NUMPY_MEANS}
        found["global_state"]["numpy.geterr"] = tuple(sorted(numpy.geterr().items()))
    if torch is not None:
        found["checker_patch"] |= {f"torch.{n}": getattr(torch, n, None) for n in _TORCH_CHECKS}
        found["timer_patch"]["torch.cuda.Event"] = torch.cuda.Event
        found["timer_patch"]["torch.cuda.synchronize"] = torch.cuda.synchronize
        found["global_state"] |= {
            "torch.get_default_dtype": torch.get_default_dtype(),
            "torch.get_num_threads": torch.get_num_threads(),
            "torch.get_float32_matmul_precision": torch.get_float32_matmul_precision(),
            "torch.is_grad_enabled": torch.is_grad_enabled(),
            "torch.are_deterministic_algorithms_enabled": (
                torch.are_deterministic_algorithms_enabled()
            ),
        }
        if torch.cuda.is_initialized():
            found["l2_persist"] = {"the persisting part of the L2": _carved_out()}
    return found


def _carved_out() -> int:
    """Bytes of the L2 that this context sets aside for lines that stay."""
    size = ctypes.c_size_t()
    status = ctypes.CDLL("libcuda.so.1").cuCtxGetLimit(
        ctypes.byref(size), _PERSISTING_L2_CACHE_SIZE
    )
    return 0 if status else size.value


def changed(before: dict[str, dict[str, Any]]) -> tuple[str, str] | None:
    """Code and name of the first thing that is not what it was."""
    after = snapshot()
    for code, things in before.items():
        for name, thing in things.items():
            now = after.get(code, {}).get(name)
            if now is not thing and now != thing:
                return code, name
    return None
