"""What the runner knows of how a candidate spends its time, out of its traces, for the next try.

Numbers and words of ours, but for names of GPU kernels, which are identifiers of bounded length.
What was not measured is said to be absent, never given as 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from treadle.kernels.build.ptxas import MAX_KERNELS, MAX_NAME
from treadle.kernels.schema import Trace

PHASES = ("start", "plan", "fill", "push", "play", "oracle", "trials", "rounds", "counters")
"""Of `spent`; trials and rounds contain the five before them."""
_USE = ("registers", "stack", "spill_stores", "spill_loads", "shared")


def digest(traces: Sequence[Trace]) -> dict[str, Any]:
    """What holds for all workloads together: the device's limits, the runner's seconds, kernels."""
    ours = [facts(one) for one in traces]
    limits = next((one for one in ours if one.get("device_gb_s")), None)
    spent = [cast("Mapping[str, Any]", one.get("spent") or {}) for one in ours]
    kernels = next((one["kernels"] for one in ours if one.get("kernels")), None)
    absent: dict[str, str] = {}
    for one in ours:
        absent.update(one.get("counters_absent") or {})
    if limits is None:
        absent["device_limits"] = "measured by an older runner"
    if kernels is None:
        absent["registers"] = "only nvcc's builds tell them"
    return {
        "device_limits": None if limits is None else {
            "gb_per_second": rounded(limits["device_gb_s"]),
            "gflop_per_second": rounded(limits["device_gflop_s"]),
        },
        "runner_seconds": {
            phase: rounded(sum(float(one.get(phase, 0.0)) for one in spent))
            for phase in PHASES if any(phase in one for one in spent)
        },
        "gpu_kernels": _kernels(kernels or ()),
        "absent": absent,
    }  # fmt: skip


def profile(trace: Trace) -> dict[str, Any]:
    """Of one workload: what a call costs alone and in a batch, what it reaches of the device."""
    run, ours = trace.evaluation, facts(trace)
    assert run is not None
    assert run.performance is not None
    latency = run.performance.latency_ms
    marginal = float(ours.get("marginal_ms") or 0.0)
    alone = float(ours.get("alone_ms") or 0.0)
    found: dict[str, Any] = {
        "calls_a_batch": ours.get("calls"),
        "rounds": ours.get("n"),
        "one_call_alone_microseconds": rounded(alone * 1e3) if alone else None,
        "one_more_call_microseconds": rounded(marginal * 1e3) if marginal else None,
        "noise": rounded(ours.get("noise")),
    }
    limit = float(ours.get("roofline_ms") or 0.0)
    if latency > 0 and limit > 0:
        found["roofline_microseconds"] = rounded(limit * 1e3)
        found["roofline_share"] = rounded(min(1.0, limit / latency))
        found["bound"] = ours.get("bound")
    if latency > 0 and ours.get("bytes"):
        found |= {"bytes": ours["bytes"],
                  "gb_per_second": rounded(ours["bytes"] / latency * 1e-6)}  # fmt: skip
    if latency > 0 and ours.get("flops"):  # 0: the definition does not say
        found |= {"flops": ours["flops"],
                  "gflop_per_second": rounded(ours["flops"] / latency * 1e-6)}  # fmt: skip
    counted = cast("Mapping[str, float]", ours.get("counters") or {})
    if counted:
        found["counters_a_call"] = {name: rounded(value) for name, value in counted.items()}
        if counted.get("cycles") and "instructions" in counted:
            ratio = counted["instructions"] / counted["cycles"]
            found["counters_a_call"]["instructions_a_cycle"] = rounded(ratio)
    return found


def facts(trace: Trace) -> dict[str, Any]:
    """What our runner wrote beside v1's fields."""
    run = trace.evaluation
    extra = run.correctness.extra if run is not None and run.correctness is not None else None
    return (extra or {}).get("treadle") or {}


def rounded(value: float | None) -> float | None:
    """To four digits."""
    return None if value is None else float(f"{value:.4g}")


def _kernels(given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"name": str(one.get("name", ""))[:MAX_NAME], **{k: int(one.get(k, 0)) for k in _USE}}
        for one in given[:MAX_KERNELS]
    ]
