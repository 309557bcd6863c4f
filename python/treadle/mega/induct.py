"""Long templates by induction: a plan with fewer layers that stands for the whole one.

A template's layers differ from the first by constant strides only. If three in a row are right
against each other, against what stands before and behind, and across two steps, every layer is:
the next one meets the same accesses and the same waits. What does not follow from the strides, that
sites and counters of all layers are alike, is checked here; where they are not, the whole plan is
verified.
"""

from __future__ import annotations

from dataclasses import fields, replace

from treadle.mega.plan import Plan
from treadle.mega.records import DONE, NONE, Segment, Site, Task

LAYERS = 3
"""Layers that are enough: neighbours, and the two that share a buffer of the same parity."""

_DATA = {
    "w", "b", "norm", "norm_eps", "post", "post_eps", "scale", "cap", "window", "q_norm", "k_norm",
    "q_eps", "k_eps", "freq", "mscale", "state",
}  # fmt: skip
"""Fields in which layers may differ: they change no access but by being absent."""

_SHAPE = tuple(field.name for field in fields(Site) if field.name not in _DATA)


def shortened(plan: Plan) -> Plan:
    """The plan with at most three repeats of every template, or the plan itself."""
    if all(segment.repeat <= LAYERS for segment in plan.segments):
        return plan
    kept_sites: list[int] = []
    kept_counters = list(range(DONE + 1))
    segments = list(plan.segments)
    site, counter = 0, DONE + 1
    for s, segment in enumerate(plan.segments):
        width, signals = _extent(plan, s)
        stride = segment.counter_stride if segment.repeat > 1 else signals
        if segment.repeat > 1 and (segment.site_stride, stride) != (width, signals):
            return plan
        for r in range(segment.repeat):
            own = range(site + r * width, site + (r + 1) * width)
            heard = range(counter + r * stride, counter + (r + 1) * stride)
            if r and not _alike(plan, own, heard, r * width, r * stride):
                return plan
            if r < LAYERS:
                kept_sites += own
                kept_counters += heard
        segments[s] = replace(segment, repeat=min(segment.repeat, LAYERS))
        site += segment.repeat * width
        counter += segment.repeat * stride
    if site != len(plan.sites) or counter != len(plan.counters):
        return plan
    return _renumbered(plan, segments, kept_sites, kept_counters)


def _extent(plan: Plan, segment: int) -> tuple[int, int]:
    """Sites and counters that one repeat of a segment brings."""
    row = plan.index[segment]
    tasks = plan.tasks[row[0] : row[-1]]
    sites = {task.p0 for task in tasks}
    signals = {task.sig for task in tasks if task.sig != NONE and task.sig > DONE}
    return len(sites), len(signals)


def _alike(plan: Plan, sites: range, counters: range, back: int, signals: int) -> bool:
    if max(*sites, 0) >= len(plan.sites) or max(*counters, 0) >= len(plan.counters):
        return False
    return all(_shape(plan.sites[i]) == _shape(plan.sites[i - back]) for i in sites) and all(
        plan.counters[i] == plan.counters[i - signals] for i in counters
    )


def _shape(site: Site) -> tuple[object, ...]:
    absent = (site.norm == NONE, site.post == NONE, site.q_norm == NONE, site.state == NONE)
    return (*(getattr(site, name) for name in _SHAPE), *absent)


def _renumbered(plan: Plan, segments: list[Segment], sites: list[int], counters: list[int]) -> Plan:
    """Without the layers left out: later segments refer to the last layer that is kept."""
    index, tasks = list[tuple[int, ...]](), list[Task]()
    site_gap = counter_gap = 0
    for s, segment in enumerate(segments):
        row = plan.index[s]
        start = len(tasks) - row[0]
        tasks += [_moved(task, site_gap, counter_gap) for task in plan.tasks[row[0] : row[-1]]]
        index.append(tuple(i + start for i in row))
        gone = plan.segments[s].repeat - segment.repeat
        site_gap += gone * segment.site_stride
        counter_gap += gone * segment.counter_stride
    return replace(
        plan,
        segments=tuple(segments),
        index=tuple(index),
        tasks=tuple(tasks),
        sites=tuple(plan.sites[i] for i in sites),
        counters=tuple(plan.counters[i] for i in counters),
    )


def _moved(task: Task, sites: int, counters: int) -> Task:
    def near(counter: int) -> int:
        return counter if counter == NONE or counter <= DONE else counter - counters

    if not sites and not counters:
        return task
    return replace(
        task,
        p0=task.p0 - sites,
        wait0=near(task.wait0),
        wait1=near(task.wait1),
        sig=near(task.sig),
    )
