"""What happens before what: one greedy run of all lists over two steps, with vector clocks.

The system is monotone (counters only rise), so if one greedy run completes, every order does. A
clock holds, for each worker of each rank, how many of its tasks are known to be over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from treadle.errors import GraphError
from treadle.mega.plan import Plan
from treadle.mega.records import NONE, Code, Scope, Task, TaskFlag

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEPS = 2


@dataclass(frozen=True, slots=True)
class Event:
    """One task of one step. number: its place in the worker's life; clock: what is over before."""

    rank: int
    worker: int
    epoch: int
    at: int
    number: int
    task: Task
    clock: NDArray[np.int32]


def place(plan: Plan, rank: int, worker: int, task: Task) -> str:
    """Where, for error messages."""
    op = Code(task.op).name if task.op in set(Code) else f"op {task.op}"
    where = f"plan {plan.target} rows {plan.shape.rows}, rank {rank} worker {worker}"
    return f"{where} {op} phase {task.p0}"


def written_out(plans: Sequence[Plan]) -> list[list[tuple[Task, ...]]]:
    """Every worker's list of every rank; equal plans are written out once."""
    known: dict[int, list[tuple[Task, ...]]] = {}
    for plan in plans:
        if id(plan) not in known:
            known[id(plan)] = [tuple(plan.list_of(w)) for w in range(plan.workers)]
    return [known[id(plan)] for plan in plans]


def run(plans: Sequence[Plan], lists: Sequence[Sequence[Sequence[Task]]]) -> list[Event]:
    """Events in an order that happens. Raises GraphError V3 for a deadlock (a cycle, V1, is one),
    V2 where a counter may be satisfied by signals of the next step."""
    machine = _Greedy(plans, lists)
    machine.run()
    return machine.events


class _Greedy:
    """Each worker runs until it must wait; counters remember what their signals know."""

    def __init__(self, plans: Sequence[Plan], lists: Sequence[Sequence[Sequence[Task]]]) -> None:
        self.events: list[Event] = []
        self._plans, self._lists = plans, lists
        self._lanes = [(r, w) for r, plan in enumerate(plans) for w in range(plan.workers)]
        size = len(self._lanes)
        self._clocks = [np.zeros(size, np.int32) for _ in self._lanes]
        self._at = [0] * size
        self._seen = [[0] * len(plan.counters) for plan in plans]
        self._known: dict[tuple[int, int, int], NDArray[np.int32]] = {}
        self._blocked: dict[tuple[int, int], list[int]] = {}

    def run(self) -> None:
        ready = list(range(len(self._lanes)))[::-1]
        while ready:
            ready += self._advance(ready.pop())
        for lane, (rank, worker) in enumerate(self._lanes):
            tasks = self._lists[rank][worker]
            if self._at[lane] < STEPS * len(tasks):
                raise self._stuck(rank, worker, tasks[self._at[lane] % len(tasks)])

    def _advance(self, lane: int) -> list[int]:
        """Runs a worker up to its next unmet wait; the lanes that its signals may free."""
        rank, worker = self._lanes[lane]
        tasks, freed = self._lists[rank][worker], list[int]()
        while self._at[lane] < STEPS * len(tasks):
            epoch, at = self._at[lane] // len(tasks) + 1, self._at[lane] % len(tasks)
            task = tasks[at]
            if not self._passes(lane, rank, task, epoch):
                return freed
            clock = self._clocks[lane]
            self.events.append(Event(rank, worker, epoch, at, self._at[lane], task, clock.copy()))
            self._at[lane] += 1
            clock[lane] = self._at[lane]
            freed += self._signal(rank, worker, task, clock)
        return freed

    def _passes(self, lane: int, rank: int, task: Task, epoch: int) -> bool:
        clock = self._clocks[lane]
        for position, (counter, need) in enumerate(task.waits):
            back = int(bool(task.flags & TaskFlag.FIRST) and position == 1)
            wanted = epoch - back
            if self._plans[rank].counters[counter].kind:
                continue  # the host is never behind
            if self._seen[rank][counter] < need * wanted:
                self._blocked.setdefault((rank, counter), []).append(lane)
                return False
            for e in range(1, wanted + 1):
                known = self._known.get((rank, counter, e))
                if known is not None:
                    np.maximum(clock, known, out=clock)
        return True

    def _signal(self, rank: int, worker: int, task: Task, clock: NDArray[np.int32]) -> list[int]:
        if task.sig == NONE:
            return []
        freed: list[int] = []
        ranks = range(len(self._plans)) if task.scope is Scope.SYSTEM else (rank,)
        for other in ranks:
            need = self._plans[other].counters[task.sig].need
            count = self._seen[other][task.sig]
            epoch = count // need + 1
            before = self._known.get((other, task.sig, epoch - 1))
            if before is not None and not (clock >= before).all():
                raise GraphError(
                    f"V2 counters: counter {task.sig} may be signalled for the next step before "
                    "every signal of this one has come",
                    at=place(self._plans[rank], rank, worker, task),
                    hint="let the signaller wait for a phase in which all of them take part",
                )
            known = self._known.setdefault((other, task.sig, epoch), np.zeros_like(clock))
            np.maximum(known, clock, out=known)
            self._seen[other][task.sig] = count + 1
            if (count + 1) % need == 0:
                freed += self._blocked.pop((other, task.sig), [])
        return freed

    def _stuck(self, rank: int, worker: int, task: Task) -> GraphError:
        seen = [(c, need, self._seen[rank][c]) for c, need in task.waits]
        shown = "; ".join(f"counter {c} needs {need} a step and saw {n}" for c, need, n in seen)
        return GraphError(
            f"V3 deadlock: waits for ever: {shown}",
            at=place(self._plans[rank], rank, worker, task),
            hint="a signal is missing, a need too high, or two tasks wait for each other (V1)",
        )
