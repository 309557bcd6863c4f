"""Drafts to tasks: places, waits, signals, and counters whose needs are counted from the lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from treadle.errors import LimitExceeded
from treadle.graph import Graph
from treadle.mega.phases import Phase
from treadle.mega.plan import Buffer
from treadle.mega.records import (
    BOUND,
    DONE,
    NONE,
    POSTED,
    STRIP,
    UNIT,
    Code,
    Counter,
    Scope,
    Site,
    Task,
    TaskFlag,
)
from treadle.mega.sites import Bucket, Builder, Draft
from treadle.mega.target import Target

ALIGN = 256
"""Buffers start at multiples of so many bytes."""

PhaseTasks = tuple[tuple[Task, ...], ...]
"""Tasks of a phase by worker."""


@dataclass(frozen=True, slots=True)
class Lists:
    """Written-out tasks by phase, and what they name. brought: counters that each phase adds;
    logits: offset and row stride in units; group: workers a KV head, 0 = not grouped."""

    phases: tuple[PhaseTasks, ...]
    brought: tuple[int, ...]
    counters: tuple[Counter, ...]
    sites: tuple[Site, ...]
    buffers: tuple[Buffer, ...]
    arena: int
    logits: tuple[int, int]
    group: int


def lower(graph: Graph, phases: Sequence[Phase], target: Target, bucket: Bucket) -> Lists:
    """The lists of fused phases. Raises GraphError, LimitExceeded for what a record cannot hold."""
    if max(bucket.rows, target.workers) >= 1 << 16:
        raise LimitExceeded("rows or workers", max(bucket.rows, target.workers), (1 << 16) - 1)
    groups = crews(phases, target, bucket)
    builder = Builder(graph, target, bucket, groups)
    drafts = [builder.phase(phase) for phase in phases]
    offsets, buffers, arena = _arena(builder.sizes)
    sites = tuple(
        replace(site, terms_off=_terms(phase, offsets)) if site.terms else site
        for site, phase in zip(builder.sites, phases, strict=True)
    )
    chain = _Chain(target, bucket, phases)
    made = [chain.phase(phase, mine, offsets) for phase, mine in zip(phases, drafts, strict=True)]
    counters = _counters(made, bucket.ranks, packets=target.packets)
    logits = next(site for site, phase in zip(sites, phases, strict=True) if phase.out == "logits")
    return Lists(
        tuple(_needed(phase, counters) for phase in made),
        tuple(chain.brought),
        counters,
        sites,
        buffers,
        arena,
        (offsets["logits"], logits.out_stride),
        target.workers // groups if groups > 1 else 0,
    )


def crews(phases: Sequence[Phase], target: Target, bucket: Bucket) -> int:
    """Groups of workers by KV head that qkv and attention keep to; 1 = none.

    A group needs whole strips of its own head's q, k and v.
    """
    heads = next((phase.heads for phase in phases if phase.heads is not None), None)
    if heads is None or not target.grouped or bucket.rows > target.stage:
        return 1
    whole = heads.head % STRIP == 0 and target.workers % heads.kv_heads == 0
    return heads.kv_heads if whole else 1


class _Chain:
    """Phases one after the other: each waits for the one before and signals its own counters."""

    def __init__(self, target: Target, bucket: Bucket, phases: Sequence[Phase]) -> None:
        self.brought: list[int] = []
        self._target, self._rows, self._ranks = target, bucket.rows, bucket.ranks
        self._phases = len(phases)
        self._merged = any(phase.code is Code.FOLD for phase in phases)
        self._before = (POSTED, 1)
        self._next = DONE + 1

    def phase(
        self, phase: Phase, drafts: Sequence[Draft], offsets: Mapping[str, int]
    ) -> PhaseTasks:
        """The tasks of the next phase: a worker's first one waits, its last one signals."""
        index = len(self.brought)
        last = index == self._phases - 1
        scope, groups = self._scope(phase, drafts)
        base = DONE if last else self._next
        aux = phase.store or ("scores" if phase.route is not None else "")
        plain = Task(
            op=int(phase.code),
            flags=int(scope) | (TaskFlag.PACKET if self._target.packets and not last else 0),
            in_off=offsets[phase.load.base] if phase.load.base else NONE,
            aux_off=offsets[aux] if aux else NONE,
            rows=self._rows,
            p0=index,
        )
        lists: list[list[Task]] = [[] for _ in range(self._target.workers)]
        for draft in drafts:
            task = replace(plain, out_off=offsets[phase.out] + draft.offset, **draft.fields)
            mine = lists[draft.worker]
            mine.append(
                task if mine else self._waiting(task, draft.group, first=not index, last=last)
            )
        for draft in drafts:
            mine = lists[draft.worker]
            mine[-1] = replace(mine[-1], sig=base + (draft.group if groups > 1 else 0))
        self.brought.append(0 if last else groups)
        self._next += self.brought[-1]
        self._before = (base, groups)
        return tuple(tuple(mine) for mine in lists)

    def _waiting(self, task: Task, group: int, *, first: bool, last: bool) -> Task:
        before, groups = self._before
        counter = before + (group if groups > 1 else 0)
        if first:
            flags = task.flags | TaskFlag.FIRST
            return replace(task, n_wait=2, wait0=counter, wait1=DONE, flags=flags)
        if last:
            flags = task.flags | TaskFlag.BOUND
            return replace(task, n_wait=2, wait0=counter, wait1=BOUND, flags=flags)
        return replace(task, n_wait=1, wait0=counter)

    def _scope(self, phase: Phase, drafts: Sequence[Draft]) -> tuple[Scope, int]:
        """Who hears a phase, and on how many counters."""
        if phase.reduce and self._ranks > 1:
            return Scope.SYSTEM, 1
        groups = 1 + max(draft.group for draft in drafts)
        inside = phase.code is Code.LINEAR or (phase.code is Code.ATTN and self._merged)
        return (Scope.GROUP, groups) if groups > 1 and inside else (Scope.GRID, 1)


def _counters(phases: Sequence[PhaseTasks], ranks: int, *, packets: bool) -> tuple[Counter, ...]:
    """All counters; a need is the number of tasks that signal, of all ranks where they hear it."""
    needs: dict[int, int] = {}
    scopes: dict[int, Scope] = {}
    for task in (task for phase in phases for mine in phase for task in mine):
        if task.sig != NONE:
            times = ranks if task.scope is Scope.SYSTEM else 1
            needs[task.sig] = needs.get(task.sig, 0) + times
            scopes[task.sig] = task.scope
    host = Counter(1, int(Scope.GRID), kind=1)
    made = [
        Counter(needs[c], int(scopes[c]), carrier=int(packets and c != DONE)) for c in sorted(needs)
    ]
    return (host, host, *made)


def _needed(phase: PhaseTasks, counters: Sequence[Counter]) -> PhaseTasks:
    """The tasks with the needs of their waits filled in."""

    def filled(task: Task) -> Task:
        needs = [counters[counter].need for counter in (task.wait0, task.wait1)[: task.n_wait]]
        need0, need1 = [*needs, 0, 0][:2]
        return replace(task, need0=need0, need1=need1)

    return tuple(tuple(filled(task) for task in mine) for mine in phase)


def _arena(sizes: Mapping[str, int]) -> tuple[dict[str, int], tuple[Buffer, ...], int]:
    """Offsets in units by name, buffers in bytes, units in all."""
    at = 0
    offsets: dict[str, int] = {}
    buffers: list[Buffer] = []
    for name, size in sizes.items():
        buffers.append(Buffer(name, at, size))
        offsets[name] = at // UNIT
        at += -(-size // ALIGN) * ALIGN
    return offsets, tuple(buffers), at // UNIT


def _terms(phase: Phase, offsets: Mapping[str, int]) -> int:
    return offsets[phase.load.base if phase.code is Code.SAMPLE else phase.load.terms]
