"""Finds layer templates: runs of phases that repeat with constant strides become one segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from treadle.errors import GraphError
from treadle.mega.plan import shifted
from treadle.mega.records import DONE, NONE, Segment, Task
from treadle.mega.tasks import Lists, PhaseTasks

PERIOD = 32
"""Most phases of a template: six layers of five, as in models with five windowed layers to one."""

Index = tuple[tuple[int, ...], ...]


def compress(lists: Lists) -> tuple[tuple[Segment, ...], Index, tuple[Task, ...]]:
    """Segments, index and tasks. What they write out to is compared with the lists."""
    bases = [DONE + 1]
    for brought in lists.brought:
        bases.append(bases[-1] + brought)
    relative = [_relative(phase, i, bases[i]) for i, phase in enumerate(lists.phases)]
    segments: list[Segment] = []
    index: list[tuple[int, ...]] = []
    tasks: list[Task] = []
    at = plain = 0

    def close(first: int, period: int, segment: Segment) -> None:
        row = [len(tasks)]
        for worker in range(len(lists.phases[0])):
            for phase in lists.phases[first : first + period]:
                tasks.extend(phase[worker])
            row.append(len(tasks))
        segments.append(segment)
        index.append(tuple(row))

    while at < len(relative):
        period, repeat = _run(relative, at)
        if repeat > 1:
            if plain < at:
                close(plain, at - plain, Segment())
            segment = Segment(repeat, period, bases[at + period] - bases[at])
            close(at, period, segment)
            _same(lists.phases, at, period, segment)
            plain = at + period * repeat
        at += period * repeat
    if plain < at:
        close(plain, at - plain, Segment())
    return tuple(segments), tuple(index), tuple(tasks)


def _relative(phase: PhaseTasks, site: int, base: int) -> PhaseTasks | None:
    """A phase with its site and counters counted from its own; None if it waits for the host."""

    def moved(task: Task) -> Task:
        def near(counter: int) -> int:
            return counter if counter == NONE else counter - base + (1 << 31)

        return replace(
            task, p0=0, wait0=near(task.wait0), wait1=near(task.wait1), sig=near(task.sig)
        )

    every = [task for mine in phase for task in mine]
    if any(c <= DONE for task in every for c in (*(w for w, _ in task.waits), task.sig)):
        return None
    return tuple(tuple(moved(task) for task in mine) for mine in phase)


def _run(relative: Sequence[PhaseTasks | None], at: int) -> tuple[int, int]:
    """Period and repeats of the longest run that starts here; 1, 1 if nothing repeats."""
    best = (1, 1)
    for period in range(1, min(PERIOD, (len(relative) - at) // 2) + 1):
        first = relative[at : at + period]
        if None in first:
            break
        repeat = 1
        while relative[at + repeat * period : at + (repeat + 1) * period] == first:
            repeat += 1
        if repeat > 1 and period * repeat > best[0] * best[1]:
            best = (period, repeat)
    return best


def _same(phases: Sequence[PhaseTasks], at: int, period: int, segment: Segment) -> None:
    for r in range(segment.repeat):
        for p in range(period):
            wanted = phases[at + r * period + p]
            found = tuple(
                tuple(
                    shifted(task, r * segment.site_stride, r * segment.counter_stride)
                    for task in mine
                )
                for mine in phases[at + p]
            )
            if found != wanted:
                raise GraphError(
                    f"phase {at + r * period + p} is not phase {at + p} shifted",
                    at="treadle.mega.compress",
                    hint="report this: a template was found that does not hold",
                )
