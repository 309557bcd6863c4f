"""Attempts as the store has them: a solution of author `agent-RUN`, and its traces.

The solution is on disk before anything is measured, so that no answer that was paid for is lost;
its traces carry its id, so that nothing is measured twice, not even when a model repeats itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from treadle.errors import InvalidRequest
from treadle.kernels.agent.endpoint import Reply
from treadle.kernels.agent.interface import DLTENSOR, Interface, spec_of
from treadle.kernels.agent.proposal import Malformed, parse
from treadle.kernels.agent.scan import scan
from treadle.kernels.schema import (
    Definition,
    Solution,
    Source,
    Spec,
    Trace,
    Workload,
    check_solution,
    sig,
    solution_id,
)
from treadle.kernels.store import Dataset

REPLY = "reply.txt"
_SHOWN = 64 << 10


@dataclass(slots=True)
class Attempt:
    """number: from 1. identity: of the solution. malformed: why the reply was no proposal. traces:
    by uuid of the workload. score: times as fast as the baseline for sure, the geometric mean over
    all workloads of the search; None where one failed or is missing."""

    number: int
    solution: Solution
    identity: str
    tokens: int
    malformed: str = ""
    traces: dict[str, Trace] = field(default_factory=dict[str, Trace])
    score: float | None = None

    @property
    def plan(self) -> str:
        """The model's own words."""
        return self.solution.description or ""

    @property
    def notes(self) -> list[str]:
        """What the scan found."""
        return list(_ours(self.solution).get("scan", ()))


def author(run: str) -> str:
    """Of every solution and trace of a run."""
    return f"agent-{run}"


def record(
    definition: Definition, run: str, number: int, reply: Reply, how: Interface, device: str,
    parents: Sequence[Attempt],
) -> Solution:  # fmt: skip
    """A reply as a solution; one that is no proposal is kept as a file that no builder takes."""
    ours: dict[str, Any] = {
        "attempt": number, "tokens": reply.tokens, "estimated": reply.estimated,
        "parents": [one.number for one in parents],
    }  # fmt: skip
    try:
        if reply.cut:
            raise Malformed("it was cut off at the limit of tokens")
        found = parse(reply.text, how.ending)
        files, plan = dict(found.files), found.plan
        if how.binding == "dlpack":
            files["dltensor.h"] = DLTENSOR
        ours["scan"] = scan(found.files)
        spec = spec_of(how, found.entry_point, device, found.prepare)
        made = _solution(definition, run, number, files, spec, plan, ours)
        check_solution(made)
        return made
    except (Malformed, InvalidRequest) as wrong:
        ours["malformed"] = str(wrong)
    text = reply.text.encode("utf-8", "replace").decode()[:_SHOWN] or "(empty)"
    return _solution(
        definition, run, number, {REPLY: text}, spec_of(how, f"{REPLY}::run", device), "", ours
    )


def _solution(
    definition: Definition, run: str, number: int, files: dict[str, str], spec: Spec, plan: str,
    ours: dict[str, Any],
) -> Solution:  # fmt: skip
    return Solution(
        name=f"{author(run)}_{number:03d}",
        definition=definition.name,
        author=author(run),
        spec=spec,
        sources=[Source(path=path, content=text) for path, text in files.items()],
        description=plan[:4000] or None,
        treadle={"agent": ours},
    )


def history(
    data: Dataset, definition: Definition, run: str, searched: Sequence[Workload], device: str
) -> list[Attempt]:
    """All attempts of a run in order, with what was measured on this device."""
    data.index.refresh()
    signature = sig(definition)
    found: list[Attempt] = []
    for one in data.solutions(definition.name):
        ours = _ours(one)
        if one.author == author(run) and "attempt" in ours:
            identity = solution_id(signature, one)
            found.append(Attempt(int(ours["attempt"]), one, identity, int(ours["tokens"]),
                                 str(ours.get("malformed", ""))))  # fmt: skip
    by_id: dict[str, dict[str, Trace]] = {}
    wanted = {one.identity for one in found}
    for trace in data.traces(definition.name):
        run_of = trace.evaluation
        if run_of is not None and run_of.environment.hardware == device:
            identity = run_of.environment.libs.get("treadle.solution", "")
            if identity in wanted:
                by_id.setdefault(identity, {}).setdefault(trace.workload.uuid, trace)
    for one in found:
        one.traces = by_id.get(one.identity, {})
        one.score = score(one.traces, searched)
    return sorted(found, key=lambda a: a.number)


def score(traces: dict[str, Trace], workloads: Sequence[Workload]) -> float | None:
    """Geometric mean of the lower ends of the speed-ups, weighted by `count`."""
    total = weight = 0.0
    for one in workloads:
        trace = traces.get(one.uuid)
        run = None if trace is None else trace.evaluation
        if run is None or run.status != "PASSED" or run.correctness is None:
            return None
        told: dict[str, Any] = (run.correctness.extra or {}).get("treadle") or {}
        low = float((told.get("ci") or [0.0])[0])
        if not low > 0:
            return None
        times = float((one.treadle or {}).get("count", 1))
        total += times * math.log(low)
        weight += times
    return math.exp(total / weight) if weight else None


def settled(attempt: Attempt, workloads: Sequence[Workload]) -> bool:
    """Whether there is nothing left to measure: a failure anywhere, or a trace of each workload."""
    runs = [t.evaluation for t in attempt.traces.values()]
    if any(run is not None and run.status != "PASSED" for run in runs):
        return True
    return all(one.uuid in attempt.traces for one in workloads)


def _ours(solution: Solution) -> dict[str, Any]:
    found = (solution.treadle or {}).get("agent")
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
