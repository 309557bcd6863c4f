"""Measurements on devices elsewhere: what a pool must offer, and how its answers become lines.

A pool knows machines and nothing of datasets; this side knows datasets and nothing of machines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from treadle.kernels.run.coordinator import Progress, Report, Task, begun
from treadle.kernels.run.stage import Settings
from treadle.kernels.schema import Trace
from treadle.kernels.store import Dataset


class Answer(NamedTuple):
    """What came of a task: a trace, or the fault of a machine."""

    task: Task
    trace: Trace | None
    fault: str = ""


class Pool(Protocol):
    """Devices of one model, each with a lease of its own."""

    name: str
    """`kind:model`, as traces have it."""

    def measure(self, tasks: Sequence[Task], settings: Settings) -> Iterator[Answer]:
        """One answer a task, in the order in which they come; lost machines are retried inside."""
        ...


def spread(
    tasks: Iterable[Task],
    pool: Pool,
    settings: Settings,
    *,
    data: Dataset | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> Report:
    """As `bench`, on the devices of a pool. A trace is appended when it comes, and once only."""
    todo, report = begun(tasks, pool.name, None if again else data)
    for number, answer in enumerate(pool.measure(todo, settings), 1):
        task = answer.task
        if answer.trace is None:
            report.faults.append(f"{task.candidate.name} on {task.workload.uuid}: {answer.fault}")
        else:
            report.done.append(answer.trace)
            if data is not None:
                data.append(answer.trace, task.candidate.author)
        if progress is not None:
            progress(number, len(todo), f"{task.candidate.name} on {task.workload.uuid[:8]}")
    return report
