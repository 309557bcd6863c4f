"""Predicts a step's time from its lists: every worker streams, waits, hops, with no device at hand.

Additive model, by measurement: a task costs its bytes at a worker's share of the bandwidth (or its
arithmetic, if that is more); a wait ends a hop after the last signal it needs. The hops are what a
boundary exposes while loads cross it, not its bare latency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from treadle.graph import FORMATS, Graph
from treadle.mega.plan import Plan
from treadle.mega.records import DONE, NONE, STRIP, Code, Scope, Site, Task, TaskFlag
from treadle.mega.target import Target

US = 1e6
KV_BYTES = 2
"""Bytes of an element in KV pages: f16 or bf16."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a step is predicted for: rows in use, positions behind them in all, bits a weight."""

    rows: int
    positions: int
    bits: Sequence[float]


@dataclass(frozen=True, slots=True)
class Slice:
    """One task on the timeline of its worker, microseconds. wait: of the time before `start`."""

    worker: int
    task: Task
    start: float
    end: float
    wait: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """us: of the step, its end included. slices: the timeline. path: the critical tasks in order.

    by_op: microseconds of the critical path by op; "wait" is what boundaries expose of it.
    """

    us: float
    slices: tuple[Slice, ...]
    path: tuple[Slice, ...]
    by_op: Mapping[str, float]


def bits_of(graph: Graph) -> tuple[float, ...]:
    """Bits a weight of every param, in the order of a plan's ids."""
    return tuple(FORMATS[param.format] for param in graph.params.values())


def predict(plan: Plan, target: Target, load: Load) -> Prediction:
    """The timeline of one step of one rank; peers are taken to run alike."""
    lists = [tuple(plan.list_of(w)) for w in range(plan.workers)]
    hops = {
        Scope.CTA: 0.0,
        Scope.GROUP: target.group_hop,
        Scope.GRID: target.hop,
        Scope.SYSTEM: target.rank_hop,
    }
    hops_of = [hops[Scope(counter.scope)] for counter in plan.counters]
    last: dict[int, Slice] = {}
    ends: dict[int, tuple[int, float]] = {}
    at = [0] * plan.workers
    free = [0.0] * plan.workers
    slices: list[Slice] = []
    ready = list(range(plan.workers))
    while ready:
        later: list[int] = []
        count = len(slices)
        for worker in ready:
            while at[worker] < len(lists[worker]):
                task = lists[worker][at[worker]]
                met = _met(plan, task, ends, hops_of)
                if met is None:
                    later.append(worker)
                    break
                start = max(free[worker], met)
                end = start + duration(plan, task, target, load)
                made = Slice(worker, task, start, end, start - free[worker])
                slices.append(made)
                free[worker] = end
                at[worker] += 1
                if task.sig != NONE:
                    heard, latest = ends.get(task.sig, (0, 0.0))
                    times = plan.shape.ranks if task.scope is Scope.SYSTEM else 1
                    if end >= latest:
                        last[task.sig] = made
                    ends[task.sig] = heard + times, max(latest, end)
        if len(slices) == count:
            break  # a plan that does not end: the verifier's business
        ready = later
    path = _path(slices, last)
    by_op: dict[str, float] = {}
    for one in path:
        name = Code(one.task.op).name
        by_op[name] = by_op.get(name, 0.0) + one.end - one.start
    total = max((s.end for s in slices), default=0.0) + target.step
    by_op["wait"] = total - sum(by_op.values())
    return Prediction(total, tuple(slices), path, by_op)


def duration(plan: Plan, task: Task, target: Target, load: Load) -> float:
    """Microseconds of a task's own work: bytes or multiply-adds, whichever takes longer."""
    site = plan.sites[task.p0]
    moved, made = _work(plan, task, site, load)
    bandwidth = target.bandwidth * 1e9 / plan.workers
    speed = target.speed * 1e9 / plan.workers
    return max(moved / bandwidth, made / speed) * US


def _work(plan: Plan, task: Task, site: Site, load: Load) -> tuple[float, float]:
    """Bytes and multiply-adds of a task."""
    share = 1 / task.share[1]
    if task.op in (Code.LINEAR, Code.EXPERTS_DOWN, Code.EXPERTS_UP):
        tile = plan.shape.tile_k
        k = min((task.k0 + task.klen) * tile, site.k) - min(task.k0 * tile, site.k)
        weights = task.w_tiles * STRIP * (k if task.op == Code.LINEAR else site.k)
        bits = sum(load.bits[w] for w in site.w[: site.parts]) / site.parts
        rows: float = load.rows
        if task.op != Code.LINEAR:
            used = min(site.experts, load.rows * site.active)
            weights *= used
            rows = load.rows * site.active / used
        whole = share if task.op == Code.EXPERTS_UP else 1.0
        return weights * whole * bits / 8, weights * rows * (
            share if task.op == Code.LINEAR else whole
        )
    if task.op == Code.ATTN:
        heads = task.pair[1]
        seen = min(load.positions, site.window * load.rows) if site.window else load.positions
        moved = 2 * seen * heads * site.head * KV_BYTES * share
        return moved, moved / KV_BYTES * site.heads / site.kv_heads
    return 0.0, 0.0


def _met(
    plan: Plan, task: Task, ends: Mapping[int, tuple[int, float]], hops: Sequence[float]
) -> float | None:
    """When a task's waits are over; None if a signal is still to come. The host is never late."""
    start = 0.0
    for counter, need in task.waits:
        if plan.counters[counter].kind or (counter == DONE and task.flags & TaskFlag.FIRST):
            continue
        count, latest = ends.get(counter, (0, 0.0))
        if count < need:
            return None
        start = max(start, latest + hops[counter])
    return start


def _path(slices: Sequence[Slice], last: Mapping[int, Slice]) -> tuple[Slice, ...]:
    """The chain that ends last: from each task what it waited for, or its worker's one before."""
    if not slices:
        return ()
    previous: dict[int, Slice] = {}
    own: dict[int, Slice] = {}
    for one in slices:
        if one.worker in own:
            previous[id(one)] = own[one.worker]
        own[one.worker] = one
    at: Slice | None = max(slices, key=_end)
    found: list[Slice] = []
    while at is not None:
        found.append(at)
        causes = [last[c] for c, _ in at.task.waits if c in last and last[c].end <= at.start]
        mine = previous.get(id(at))
        waited = at.wait > 0 and causes
        at = max(causes, key=_end) if waited else mine
    return tuple(reversed(found))


def _end(one: Slice) -> float:
    return one.end
