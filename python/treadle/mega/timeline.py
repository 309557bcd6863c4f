"""What workers recorded of real steps, as spans and as a Perfetto (Chrome JSON) timeline."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from treadle.mega.plan import Plan
from treadle.mega.records import NONE, Code

RECORD = np.dtype(
    [("start", "<i8"), ("length", "<u4"), ("at", "<u4"), ("step", "<u4"), ("what", "<u2"),
     ("plan", "<u2")]
)  # fmt: skip
"""A record as the CPU runtime keeps it: nanoseconds, site or counter, step, op or mark, plan."""

WAIT, IDLE, POSTED, BOUND = 100, 101, 102, 103
"""Marks that are no op: waiting for other workers; for the host; what the host did, in no time."""

_MARKS = {WAIT: "wait", IDLE: "idle", POSTED: "posted", BOUND: "bound"}
_LAYER = re.compile(r"^(?:[a-z]+)?(\d+)(?:\.|$)")


@dataclass(frozen=True, slots=True)
class Span:
    """One task or wait of a worker, or a mark of the host (worker = number of workers).

    Times in microseconds. kind: an op's name in lower case, or wait, idle, posted, bound. label:
    what a task works on, without the layer; layer: -1 outside of all layers.
    """

    worker: int
    start: float
    end: float
    kind: str
    label: str
    layer: int
    step: int
    plan: int


def spans(plans: Sequence[Plan], rings: Sequence[bytes]) -> list[Span]:
    """The records of all workers, and of the host behind them, in order of time.

    plans: as they were given to the runner. Raises ValueError for a ring of broken records.
    """
    names = [Names(plan) for plan in plans]
    found: list[Span] = []
    for worker, ring in enumerate(rings):
        records: list[tuple[int, ...]] = np.frombuffer(ring, RECORD).tolist()
        for start, length, at, step, what, plan in records:
            kind = _MARKS.get(what)
            label, layer = names[plan].of(at) if kind is None else ("", -1)
            found.append(
                Span(
                    worker, start / 1e3, (start + length) / 1e3, kind or Code(what).name.lower(),
                    label, layer, step, plan,
                )
            )  # fmt: skip
    found.sort(key=lambda span: span.start)
    return found


class Names:
    """Labels and layers of a plan's sites, from the names of what they read."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._known: dict[int, tuple[str, int]] = {}

    def of(self, at: int) -> tuple[str, int]:
        """Label and layer of a site."""
        if at not in self._known:
            self._known[at] = self._of(at)
        return self._known[at]

    def _of(self, at: int) -> tuple[str, int]:
        plan = self._plan
        site = plan.sites[at]
        own = [plan.params[w] for w in site.w[: site.parts] if w != NONE]
        if not own and site.state != NONE:
            own = [plan.states[site.state]]
        if not own and site.norm != NONE:
            own = [plan.params[site.norm]]
        numbers = [_LAYER.match(name) for name in own]
        layer = next((int(match[1]) for match in numbers if match), -1)
        return "+".join(name.partition(".")[2] or name for name in own), layer


def chrome(
    found: Sequence[Span],
    workers: int,
    about: Mapping[str, Any] | None = None,
    *,
    device: str = "cpu",
) -> dict[str, Any]:
    """The timeline that Perfetto and chrome://tracing open: a track a worker, one of the host.

    Flow arrows lead from the host's marks to the first span that starts after them in that step.
    """
    first = found[0].start if found else 0.0
    events: list[dict[str, Any]] = [
        {"ph": "M", "pid": 1, "name": "process_name", "args": {"name": f"treadle mega, {device}"}}
    ]
    for worker in range(workers + 1):
        name = f"worker {worker}" if worker < workers else "host"
        events.append(
            {"ph": "M", "pid": 1, "tid": worker, "name": "thread_name", "args": {"name": name}}
        )
    for span in found:
        base = {"pid": 1, "tid": span.worker, "ts": round(span.start - first, 3), "cat": span.kind}
        where = {"step": span.step, "plan": span.plan}
        if span.worker == workers:
            events.append(base | {"ph": "i", "s": "t", "name": span.kind, "args": where})
            continue
        name = span.kind if span.layer < 0 else f"{span.kind}@{span.layer}"
        more = where | ({"on": span.label} if span.label else {})
        length = round(span.end - span.start, 3)
        events.append(base | {"ph": "X", "dur": length, "name": name, "args": more})
    return {
        "traceEvents": [*events, *_flows(found, workers, first)],
        "otherData": dict(about or {}),
    }


def _flows(found: Sequence[Span], workers: int, first: float) -> list[dict[str, Any]]:
    """Arrows: from `posted` to each worker's first task of the step, from `bound` to its draw."""
    marks = {(s.kind, s.step): s.start for s in found if s.worker == workers}
    seen: set[tuple[str, int, int]] = set()
    out: list[dict[str, Any]] = []
    for span in found:
        if span.worker == workers or span.kind in ("wait", "idle"):
            continue
        for mark, wanted in (("posted", True), ("bound", span.kind == "sample")):
            key = mark, span.step, span.worker
            at = marks.get((mark, span.step))
            if not wanted or at is None or key in seen:
                continue
            seen.add(key)
            number = len(out) // 2 + 1
            base = {"pid": 1, "cat": "host", "name": mark, "id": number}
            out.append(base | {"ph": "s", "tid": workers, "ts": round(at - first, 3)})
            end = round(max(at, span.start) - first, 3)
            out.append(base | {"ph": "f", "bp": "e", "tid": span.worker, "ts": end})
    return out


@dataclass(frozen=True, slots=True)
class Step:
    """One step as all workers lived it. Microseconds; `by`: of all workers together by kind."""

    number: int
    plan: int
    start: float
    end: float
    spans: tuple[Span, ...]
    by: Mapping[str, float]


def steps(
    found: Sequence[Span], workers: int, kinds: Sequence[str] = ("embed", "sample")
) -> list[Step]:
    """The whole steps among the spans: those in which every worker has done what is in `kinds`.

    A step lasts from the end of the one before, so that the time in which workers waited for the
    host belongs to the step that they waited for; the first begins with its first task.
    """
    mine: dict[int, list[Span]] = {}
    for span in found:
        if span.worker < workers:
            mine.setdefault(span.step, []).append(span)
    ends = {number: max(span.end for span in own) for number, own in mine.items()}
    out: list[Step] = []
    for number, own in sorted(mine.items()):
        if {(s.worker, kind) for s in own if (kind := s.kind) in kinds} != {
            (worker, kind) for worker in range(workers) for kind in kinds
        }:
            continue  # its beginning was overwritten, or its end is still to come
        first = min(span.start for span in own if span.kind not in ("wait", "idle"))
        start = ends.get(number - 1, first)
        inside = [replace(s, start=max(s.start, start)) for s in own if s.end > start]
        by: dict[str, float] = {}
        for span in inside:
            kind = f"linear {span.label}" if span.kind == "linear" else span.kind
            by[kind] = by.get(kind, 0.0) + span.end - span.start
        by["between"] = (ends[number] - start) * workers - sum(by.values())
        out.append(Step(number, own[0].plan, start, ends[number], tuple(inside), by))
    return out
