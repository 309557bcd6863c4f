"""What a board shows, read from a dataset: every trace as a `Run`, workloads, ceilings.

Nothing is trusted to be more than valid lines: our own facts sit in free-form objects, so each is
taken only if it has the type it should have.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from treadle.errors import InvalidRequest, TreadleError
from treadle.kernels.check import sizes
from treadle.kernels.run import cpu, cuda, work
from treadle.kernels.schema import Definition, Solution, Trace, Workload, read
from treadle.kernels.store import Dataset
from treadle.kernels.store.lines import line_at

KEY = 16
VERDICTS = ("FAST", "SAME", "SLOW", "UNCLEAR")
OFFICIAL = 3
"""Isolation level from which results count as official; below 2 they carry a badge."""

_T = TypeVar("_T")
_SLACK = {"cpu": cpu.SLACK, "cuda": cuda.SLACK}


@dataclass(frozen=True, slots=True)
class Run:
    """One trace. Times in ms; ratio = baseline over candidate time, None where it did not pass."""

    key: str
    definition: str
    solution: str
    author: str
    language: str
    uuid: str
    axes: dict[str, int]
    device: str
    status: str
    refused: str
    reason: str
    verdict: str
    ratio: float | None
    low: float
    high: float
    rounds: int
    latency: float
    baseline_latency: float
    baseline: str
    isolation: int | None
    timer: str
    noise: float | None
    roof: float | None
    """Time in ms that the device needs for the bytes and operations at its ceilings."""
    setup: float | None
    """Time in ms of preparing the weights, once; None for who prepares none."""
    errors: tuple[str, str]
    when: str
    labels: tuple[str, ...]
    libraries: dict[str, str]
    place: str
    line: bytes
    log: str

    @property
    def share(self) -> float | None:
        """Share of the roofline reached, 0 to 1."""
        return self.roof / self.latency if self.roof and self.latency else None


@dataclass(slots=True)
class Facts:
    """Everything a board needs. `latest` holds the newest run of each (solution, workload)."""

    definitions: dict[str, Definition]
    solutions: dict[str, Solution]
    workloads: dict[str, dict[str, Workload]]
    runs: list[Run] = field(default_factory=list[Run])
    latest: list[Run] = field(default_factory=list[Run])
    unread: int = 0

    def devices(self) -> list[str]:
        """Devices that have traces, those with most first."""
        counts: dict[str, int] = {}
        for run in self.latest:
            counts[run.device] = counts.get(run.device, 0) + 1
        return sorted(counts, key=lambda d: (-counts[d], d))

    def weight(self, definition: str, uuid: str) -> int:
        """How often a workload was met; 1 where nobody counted."""
        ours = self.workloads[definition][uuid].treadle or {}
        return max(1, _typed(ours.get("count"), int, 1))

    def moves(self, definition: str, axes: Mapping[str, int]) -> tuple[int, float]:
        """Bytes and operations of a call; zeros where no formula gives them."""
        one = self.definitions.get(definition)
        if one is None:
            return 0, 0.0
        try:
            known = sizes.all_axes(one, axes)
            return work.touched(one, known), work.flops(one, known)
        except (InvalidRequest, KeyError, ValueError):
            return 0, 0.0


def gather(data: Dataset) -> Facts:
    """Reads a dataset through its index."""
    definitions = data.definitions()
    solutions = {one.name: one for one in data.solutions()}
    facts = Facts(definitions, solutions, {name: {} for name in definitions})
    facts.unread = sum(1 for _ in data.index.errors())
    for name in sorted(definitions):
        rows = facts.workloads[name]
        for row in data.workloads(name):
            rows.setdefault(row.workload.uuid, row.workload)
        newest: dict[tuple[str, str, str], Run] = {}
        for file, offset, length in data.index.places(name, workloads=False):
            line = line_at(data.root / file, offset, length)
            place = f"{file} byte {offset}"
            try:
                trace = read(Trace, line, place)
            except TreadleError:
                facts.unread += 1
                continue
            if trace.solution is None or trace.evaluation is None:
                continue
            rows.setdefault(trace.workload.uuid, trace.workload)
            run = _run(trace, solutions.get(trace.solution), line, place)
            facts.runs.append(run)
            key = (run.solution, run.uuid, run.device)
            if key not in newest or newest[key].when <= run.when:
                newest[key] = run
        facts.latest += newest.values()
    facts.latest.sort(key=lambda r: (r.definition, r.device, r.solution, r.uuid))
    return facts


def ceilings(facts: Facts, device: str) -> tuple[float | None, float | None]:
    """Bytes and operations a second at the device's ceilings, as its traces imply them.

    A trace holds the time that both ceilings together allow. The larger rate over traces is the
    ceiling, provided that some workload was bound by it; else it is not known and None.
    """
    rows = [
        (*facts.moves(run.definition, run.axes), run.roof / 1e3)
        for run in facts.latest
        if run.device == device and run.roof
    ]
    bandwidth = max((b / roof for b, _, roof in rows), default=0.0)
    if not bandwidth:
        return None, None
    bound = [f / roof for b, f, roof in rows if b / bandwidth < 0.98 * roof and f]
    return bandwidth, max(bound) if bound else None


def _run(trace: Trace, solution: Solution | None, line: bytes, place: str) -> Run:
    run = trace.evaluation
    assert run is not None
    assert trace.solution is not None
    libs = run.environment.libs
    ours: dict[str, Any] = {}
    if run.correctness is not None:
        ours = _typed((run.correctness.extra or {}).get("treadle"), dict, ours)
    times = run.performance if run.status == "PASSED" else None
    ratio = times.speedup_factor if times is not None and times.speedup_factor > 0 else None
    low, high = _interval(ours.get("ci"), ratio or 1.0)
    floor = _number(ours.get("floor_ms"))
    slack = _SLACK.get(run.environment.hardware.partition(":")[0])
    level = ours.get("isolation", libs.get("treadle.isolation"))
    verdict = str(ours.get("verdict", ""))
    labels = [name for name in ("delegate", "nondeterministic") if ours.get(name)]
    spec = (solution.spec.treadle or {}) if solution is not None else {}
    if spec.get("delegate") and "delegate" not in labels:
        labels.append("delegate")
    errors = run.correctness
    return Run(
        key=hashlib.sha256(line).hexdigest()[:KEY],
        definition=trace.definition,
        solution=trace.solution,
        author=solution.author if solution is not None else "unknown",
        language=solution.spec.language if solution is not None else "unknown",
        uuid=trace.workload.uuid,
        axes=dict(trace.workload.axes),
        device=run.environment.hardware,
        status=run.status,
        refused=libs.get("treadle.refused", ""),
        reason=str(ours.get("reason", "")) or run.log.strip().partition("\n")[0][:300],
        verdict=verdict if ratio and verdict in VERDICTS else "UNCLEAR" if ratio else "",
        ratio=ratio,
        low=low,
        high=high,
        rounds=_typed(ours.get("n"), int, 0),
        latency=times.latency_ms if times is not None else 0.0,
        baseline_latency=times.reference_latency_ms if times is not None else 0.0,
        baseline=str(ours.get("baseline", "reference")),
        isolation=int(level) if str(level) in "01234" and str(level) else None,
        timer=str(ours.get("timer", libs.get("treadle.timer", "not recorded"))),
        noise=_number(ours.get("noise_floor")),
        roof=floor * slack if floor and slack and ratio else None,
        setup=_number(ours.get("setup_ms")) if ratio else None,
        errors=(str(errors.max_relative_error), str(errors.max_absolute_error))
        if errors is not None else ("", ""),
        when=run.timestamp,
        labels=tuple(labels),
        libraries=dict(libs),
        place=place,
        line=line,
        log=run.log,
    )  # fmt: skip


def _interval(value: object, ratio: float) -> tuple[float, float]:
    match value:
        case [int() | float(), int() | float()]:
            low, high = _number(value[0]), _number(value[1])
            return (low, high) if low and high and low <= high else (ratio, ratio)
        case _:
            return ratio, ratio


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and math.isfinite(value) and value > 0:
        return float(value)
    return None


def _typed(value: object, kind: type[_T], otherwise: _T) -> _T:
    return value if isinstance(value, kind) else otherwise
