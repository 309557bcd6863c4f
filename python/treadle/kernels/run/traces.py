"""Outcomes as lines of a dataset: FlashInfer Trace v1, our facts where v1 keeps them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from treadle.kernels.build import BuildFailure
from treadle.kernels.run.match import Outcome
from treadle.kernels.run.refusal import Refused
from treadle.kernels.run.scan import scan
from treadle.kernels.schema import (
    Correctness,
    Definition,
    Environment,
    Evaluation,
    Performance,
    Solution,
    Trace,
    Workload,
    sig,
    solution_id,
    wire_number,
)

HARNESS = "1"
"""Raised when measurements before and after are not comparable; part of the resume key."""
MAX_LOG = 64 << 10


def resume_key(trace: Trace) -> tuple[str, str, str, str] | None:
    """Workload, solution id, device and harness version of a measured trace."""
    run = trace.evaluation
    if run is None:
        return None
    libs = run.environment.libs
    return (
        trace.workload.uuid,
        libs.get("treadle.solution", ""),
        run.environment.hardware,
        libs.get("treadle.harness", ""),
    )


def key_of(definition: Definition, workload: Workload, solution: Solution, device: str) -> Any:
    """The resume key that a measurement will have."""
    return (workload.uuid, solution_id(sig(definition), solution), device, HARNESS)


def trace(
    definition: Definition,
    workload: Workload,
    solution: Solution,
    found: Outcome | Refused | BuildFailure,
    device: str,
    facts: Mapping[str, str],
    extra: Mapping[str, Any] | None = None,
) -> Trace:
    """One line. facts: timer, versions, governor of the machine; extra: baseline, key id, log."""
    libs = {
        **{k: v for k, v in facts.items() if k in ("numpy", "torch", "triton", "cuda", "driver")},
        "treadle.harness": HARNESS,
        "treadle.solution": solution_id(sig(definition), solution),
        "treadle.timer": facts.get("timer", "none"),
    }
    more = dict(extra or {})
    log = str(more.pop("log", ""))
    common = {
        "timer": facts.get("timer", "none"),
        "harness": HARNESS,
        **{k: facts[k] for k in ("governor", "khz", "load", "kernel") if k in facts},
        **more,
    }
    correctness: Correctness | None = None
    performance: Performance | None = None
    match found:
        case Outcome():
            status = "PASSED"
            c = found.comparison
            libs["treadle.isolation"] = str(found.level)
            seen, roof = scan(solution), found.roofline
            ours = {
                **common,
                "n": c.n, "ci": [c.low, c.high], "verdict": str(c.verdict),
                "isolation": found.level, "noise": found.noise, "calls": found.calls,
                "audits": found.audits, "left_out": found.left_out, "oracle": found.rung,
                "error_ratio": found.ratio, "ulps": found.ulps,
                "nondeterministic": found.nondeterministic,
                "seen": seen, "delegate": "delegate" in seen,
                "e2e_ms": c.candidate * 1e3, "floor_ms": roof.floor * 1e3,
                "roofline_ms": roof.seconds * 1e3,
                "alone_ms": found.alone * 1e3, "marginal_ms": found.marginal * 1e3,
                "bytes": roof.moved, "flops": roof.flops, "bound": roof.bound,
                "device_gb_s": roof.bandwidth * 1e-9, "device_gflop_s": roof.rate * 1e-9,
                "counters": found.counters, "counters_absent": found.absent,
            }  # fmt: skip
            if found.setup is not None:
                ours |= {"setup_ms": found.setup * 1e3, "setups": found.setups}
            correctness = Correctness(
                max_relative_error=wire_number(found.relative),
                max_absolute_error=wire_number(found.absolute),
                extra={"treadle": ours},
            )
            performance = Performance(
                latency_ms=c.candidate * 1e3,
                reference_latency_ms=c.baseline * 1e3,
                speedup_factor=c.ratio,
            )
        case BuildFailure():
            status, log = "COMPILE_ERROR", found.log
            libs["treadle.stage"] = found.stage
        case Refused():
            status = found.status
            log = "\n".join(part for part in (found.text, log) if part)
            if found.code:
                libs["treadle.refused"] = found.code
            if status == "INCORRECT_NUMERICAL":
                ours = {**common, "phase": found.phase, "reason": found.text}
                correctness = Correctness(
                    max_relative_error=wire_number(found.relative),
                    max_absolute_error=wire_number(found.absolute),
                    extra={"treadle": ours},
                )
    return Trace(
        definition=definition.name,
        workload=workload,
        solution=solution.name,
        evaluation=Evaluation(
            status=status,
            environment=Environment(hardware=device, libs=libs),
            timestamp=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            log=capped(log),
            correctness=correctness,
            performance=performance,
        ),
    )


def capped(text: str) -> str:
    """Head and tail of a log within 64 KiB."""
    data = text.encode("utf-8", "replace")
    if len(data) <= MAX_LOG:
        return text
    half = MAX_LOG // 2 - 32
    return (data[:half] + b"\n... left out ...\n" + data[-half:]).decode("utf-8", "replace")
