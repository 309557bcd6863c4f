"""The interpreter: a plan's lists run by simulated workers in any order, ranks in lockstep.

Memory starts as NaN and is poisoned after every step, a task's stores and its signal come
after its reads with others in between, and the host posts as early as it may. What comes out must
equal the graph's reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.errors import KernelError
from treadle.mega import bodies
from treadle.mega.bodies import Rank, Step, Store
from treadle.mega.orders import Order
from treadle.mega.plan import Plan
from treadle.mega.records import BOUND, DONE, NONE, POSTED, WORDS, Code, Scope, Task, TaskFlag
from treadle.types import Batch

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One step: logits [R, V] over all ranks, the tokens drawn [R]; both as rank 0 and all hold."""

    logits: NDArray[Any]
    tokens: NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A task with what the loop asks about it: (counter, need, epochs back), scope, signal."""

    task: Task
    waits: tuple[tuple[int, int, int], ...]
    everywhere: bool


@dataclass(slots=True)
class _Worker:
    """Where a worker stands: its list, position, epoch, and the stores it has yet to make."""

    rank: int
    number: int
    entries: tuple[_Entry, ...]
    at: int = 0
    epoch: int = 1
    stores: list[Store] | None = None


def run(
    plans: Sequence[Plan],
    batches: Sequence[Batch],
    params: Sequence[Arrays],
    states: Sequence[dict[str, NDArray[Any]]],
    order: Order,
    *,
    dtype: Any = np.float64,
) -> list[Outcome]:
    """Consecutive steps of one plan a rank. `states` are changed in place.

    plans, params, states: one a rank. Raises KernelError for a deadlock or a store off the arena.
    """
    machine = _Machine(plans, batches, params, states, dtype)
    while machine.step(order):
        pass
    return machine.outcomes


class _Machine:
    """Ranks, workers and counters; one event at a time."""

    def __init__(
        self,
        plans: Sequence[Plan],
        batches: Sequence[Batch],
        params: Sequence[Arrays],
        states: Sequence[dict[str, NDArray[Any]]],
        dtype: Any,
    ) -> None:
        self.plans, self.batches, self.outcomes = plans, batches, list[Outcome]()
        self._counters = [[0] * len(plan.counters) for plan in plans]
        self._ranks = [
            Rank(
                r,
                np.full(plan.shape.arena * WORDS, np.nan, dtype),
                [params[r][name] for name in plan.params],
                [states[r][name] for name in plan.states],
            )
            for r, plan in enumerate(plans)
        ]
        self._steps = [[Step(plan, self._ranks, batch) for batch in batches] for plan in plans]
        self._tails: dict[tuple[int, int], tuple[NDArray[Any], NDArray[Any]]] = {}
        self._poisoned = [_poisoned(plan) for plan in plans]
        lists = {id(plan): _entries(plan) for plan in plans}
        self._workers = [
            _Worker(r, w, entries)
            for r, plan in enumerate(plans)
            for w, entries in enumerate(lists[id(plan)])
        ]
        for counters in self._counters:  # the host is ahead by as much as it may be
            counters[POSTED] = counters[BOUND] = len(batches)
        self._able: list[_Worker] = []
        self._blocked: dict[tuple[int, int], list[_Worker]] = {}
        for worker in self._workers:
            self._place(worker)

    def step(self, order: Order) -> bool:
        """One event; False when every step is over. Raises KernelError on a deadlock."""
        if not self._able:
            if all(worker.epoch > len(self.batches) for worker in self._workers):
                return False
            raise self._stuck()
        chosen = order([(w.rank, w.number, w.stores is not None) for w in self._able])
        worker = self._able[chosen]
        entry = worker.entries[worker.at]
        if worker.stores is None:
            step = self._steps[worker.rank][worker.epoch - 1]
            worker.stores = bodies.run(step, self._ranks[worker.rank], entry.task)
            return True
        for target, index, values in worker.stores:
            target[index] = values
        worker.stores = None
        self._able[chosen] = self._able[-1]
        self._able.pop()
        self._signal(worker, entry)
        worker.at += 1
        if worker.at == len(worker.entries):
            worker.at, worker.epoch = 0, worker.epoch + 1
        self._place(worker)
        return True

    def _place(self, worker: _Worker) -> None:
        """Puts a worker among those that can go on, or under the counter that holds it up."""
        if worker.epoch > len(self.batches):
            return
        counters = self._counters[worker.rank]
        for counter, need, back in worker.entries[worker.at].waits:
            if counters[counter] < need * (worker.epoch - back):
                self._blocked.setdefault((worker.rank, counter), []).append(worker)
                return
        self._able.append(worker)

    def _signal(self, worker: _Worker, entry: _Entry) -> None:
        sig = entry.task.sig
        if sig == NONE:
            return
        for rank in range(len(self.plans)) if entry.everywhere else (worker.rank,):
            self._counters[rank][sig] += 1
            for waiting in self._blocked.pop((rank, sig), ()):
                self._place(waiting)
        if sig == DONE:
            self._over(worker)

    def _over(self, worker: _Worker) -> None:
        """Collects a step when every rank is done with it, and poisons what it leaves."""
        epoch = len(self.outcomes) + 1
        plan = self.plans[worker.rank]
        if self._counters[worker.rank][DONE] == plan.counters[DONE].need * worker.epoch:
            self._tail(worker.rank, worker.epoch)
        if len(self._tails) == len(self.plans) * epoch:
            wanted = [self._tails[rank, epoch] for rank in range(len(self.plans))]
            tokens = wanted[0][1]
            if any(not np.array_equal(tokens, other) for _, other in wanted[1:]):
                raise KernelError("mega: ranks drew different tokens", hint="verify the plans")
            logits = np.concatenate([part for part, _ in wanted], axis=-1)
            self.outcomes.append(Outcome(logits, tokens))

    def _tail(self, rank: int, epoch: int) -> None:
        shape, arena = self.plans[rank].shape, self._ranks[rank].arena
        count = len(self.batches[epoch - 1].rows)
        logits = bodies.view(arena, shape.logits_off, shape.logits_stride, count, shape.vocab)
        first = shape.tokens_off * WORDS
        self._tails[rank, epoch] = logits.copy(), arena[first : first + count].copy()
        for start, end in self._poisoned[rank]:
            arena[start:end] = np.nan

    def _stuck(self) -> KernelError:
        waiting: list[str] = []
        for worker in self._workers:
            if worker.epoch <= len(self.batches):
                task = worker.entries[worker.at].task
                seen = [self._counters[worker.rank][counter] for counter, _ in task.waits]
                waiting.append(
                    f"rank {worker.rank} worker {worker.number} at {Code(task.op).name} "
                    f"(task {worker.at}, epoch {worker.epoch}) waits for {task.waits}, sees {seen}"
                )
        return KernelError(
            f"mega: deadlock; {'; '.join(waiting[:4])}",
            at="treadle.mega.interp",
            hint="verify the plan: a need is higher than its signals, or a signal is missing",
        )


def _entries(plan: Plan) -> tuple[tuple[_Entry, ...], ...]:
    """Every worker's list, repeats written out."""

    def entry(task: Task) -> _Entry:
        first = bool(task.flags & TaskFlag.FIRST)
        waits = tuple((c, need, int(first and i == 1)) for i, (c, need) in enumerate(task.waits))
        return _Entry(task, waits, task.scope is Scope.SYSTEM)

    return tuple(tuple(map(entry, plan.list_of(w))) for w in range(plan.workers))


def _poisoned(plan: Plan) -> list[tuple[int, int]]:
    """Elements that no step may take from the one before: all but the tokens, and but what a peer
    that is already in its next step may have stored here."""
    far = [task.out_off * WORDS * 4 for task in plan.tasks if plan.sites[task.p0].rank_stride]
    return [
        (b.offset // 4, (b.offset + b.size) // 4)
        for b in plan.buffers[1:]
        if not any(b.offset <= start < b.offset + b.size for start in far)
    ]
