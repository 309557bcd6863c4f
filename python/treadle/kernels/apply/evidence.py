"""From traces to what is known: at each measured key, who beats the baseline for sure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from treadle.kernels.apply.keys import Space
from treadle.kernels.apply.policy import Policy
from treadle.kernels.schema import Evaluation, Solution, Trace


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast as the baseline: the ends of the interval. reason: why it does not
    count, empty if it does."""

    low: float
    high: float
    reason: str = ""


@dataclass(slots=True)
class Point:
    """One measured key, the sizes of a workload there, and the ratio of every solution tried."""

    key: tuple[float, ...]
    axes: Mapping[str, int]
    ratios: dict[str, Ratio] = field(default_factory=dict[str, Ratio])

    def winner(self) -> str | None:
        """The solution with the best proven ratio; None where the baseline stays."""
        best = max(((r.low, name) for name, r in self.ratios.items() if not r.reason), default=None)
        return None if best is None else best[1]


@dataclass(slots=True)
class Evidence:
    """All points of a definition on one device model. refused: solution → why nobody may use it.
    elsewhere: devices that have traces of this definition, of which none counts here."""

    points: list[Point]
    refused: dict[str, str]
    elsewhere: set[str]


def gather(
    traces: Iterable[Trace],
    solutions: Mapping[str, Solution],
    space: Space,
    device: str,
    policy: Policy,
) -> Evidence:
    """Reads what was measured on exactly `device`. The latest run of a workload counts.

    A solution that failed any workload in its latest run is refused altogether: what is wrong at
    one shape is not trusted at another.
    """
    latest: dict[tuple[str, str], Trace] = {}
    elsewhere: set[str] = set()
    for trace in traces:
        run = trace.evaluation
        if run is None or trace.solution is None:
            continue
        if run.environment.hardware != device:
            elsewhere.add(run.environment.hardware)
            continue
        at = (trace.solution, trace.workload.uuid)
        old = latest.get(at)
        if old is None or old.evaluation is None or old.evaluation.timestamp <= run.timestamp:
            latest[at] = trace
    refused: dict[str, str] = {}
    for (name, uuid), trace in latest.items():
        run = trace.evaluation
        assert run is not None
        if run.status != "PASSED":
            refused[name] = f"{run.status} at workload {uuid}"
        elif name not in solutions:
            refused[name] = "the dataset does not hold it"
        elif policy.authors is not None and solutions[name].author not in policy.authors:
            refused[name] = f"author {solutions[name].author!r} is not among the policy's"
    points: dict[tuple[float, ...], Point] = {}
    for (name, _), trace in latest.items():
        run = trace.evaluation
        key = space.key(trace.workload.axes)
        if run is None or run.status != "PASSED" or any(value <= 0 for value in key):
            continue
        point = points.setdefault(key, Point(key, trace.workload.axes))
        made = Ratio(*_interval(run), refused[name]) if name in refused else ratio(run, policy)
        point.ratios[name] = _worse(point.ratios.get(name), made)
    return Evidence([points[key] for key in sorted(points)], refused, elsewhere)


def ratio(run: Evaluation, policy: Policy) -> Ratio:
    """What one passing run says under a policy."""
    ours = _ours(run)
    low, high = _interval(run)
    harness = run.environment.libs.get("treadle.harness")
    if policy.harness is not None and harness != policy.harness:
        return Ratio(low, high, f"harness {harness}, now {policy.harness}")
    if "ci" not in ours and not policy.unproven:
        return Ratio(low, high, "no interval in the trace")
    if "ci" in ours and ours.get("verdict") != "FAST":
        return Ratio(low, high, f"verdict {ours.get('verdict')}")
    level = ours.get("isolation", 0)
    if not (isinstance(level, int) and level >= policy.isolation) and not policy.unproven:
        return Ratio(low, high, f"isolation {level}, the policy wants {policy.isolation}")
    if policy.baseline is not None and ours.get("baseline") != policy.baseline:
        return Ratio(low, high, f"measured against {ours.get('baseline')!r}")
    if not low >= 1.0 + policy.gain:
        return Ratio(low, high, f"gain {100 * (low - 1):.1f} % at least, {policy.gain:.1%} wanted")
    return Ratio(low, high)


def _ours(run: Evaluation) -> Mapping[str, Any]:
    extra = run.correctness.extra if run.correctness is not None else None
    found = (extra or {}).get("treadle")
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}


def _interval(run: Evaluation) -> tuple[float, float]:
    ends = _ours(run).get("ci")
    if isinstance(ends, list):
        pair = cast("list[object]", ends)
        if len(pair) == 2 and all(isinstance(v, int | float) for v in pair):
            low, high = (float(cast("float", v)) for v in pair)
            if math.isfinite(low) and math.isfinite(high):
                return low, high
        return 0.0, 0.0
    factor = run.performance.speedup_factor if run.performance is not None else 0.0
    return factor, factor


def _worse(one: Ratio | None, other: Ratio) -> Ratio:
    """Two workloads of one key must both convince."""
    if one is None:
        return other
    reason = one.reason or other.reason
    return Ratio(min(one.low, other.low), max(one.high, other.high), reason)
