"""V8: numbers fit their fields and name things that exist, before any other rule follows them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from treadle.errors import GraphError
from treadle.mega.happens import place
from treadle.mega.plan import Plan
from treadle.mega.records import (
    BOUND,
    DONE,
    NONE,
    POSTED,
    UNIT,
    Code,
    Scope,
    Site,
    SiteFlag,
    Task,
    TaskFlag,
    pack,
)

_WIDE = 1 << 24
"""More elements in a row, rows in a weight or heads than any model has."""

Lists = Sequence[Sequence[Task]]


def check(plan: Plan, rank: int, lists: Lists) -> None:
    """Raises GraphError V8, or V2 where a worker does not begin and end a step as it must."""
    for worker, mine in enumerate(lists):
        if not mine:
            raise GraphError(
                f"V3 deadlock: worker {worker} has no task and would never wait",
                at=f"plan {plan.target}, rank {rank}",
                hint="give every worker a share of dealt work",
            )
        for position, task in enumerate(mine):
            at = place(plan, rank, worker, task)
            _task(plan, task, at)
            _host(task, at, first=position == 0)


def check_sites(plan: Plan) -> None:
    """Raises GraphError V8 for an arena or a site that cannot be."""
    _arena(plan)
    written: set[int] = set()
    for number, site in enumerate(plan.sites):
        _site(plan, number, site)
        if site.op == Code.KV or (site.op == Code.ATTN and site.flags & SiteFlag.APPEND):
            if site.state in written:
                raise _bad(f"writes state {site.state} a second time in a step", f"site {number}")
            written.add(site.state)


def _arena(plan: Plan) -> None:
    shape, at = plan.shape, 0
    for buffer in plan.buffers:
        if buffer.offset < at or buffer.offset % UNIT or buffer.size < 1:
            raise _bad("its buffers overlap or are not aligned", f"buffer {buffer.name}")
        at = buffer.offset + buffer.size
    sizes = (shape.ranks, shape.rows, shape.slots, shape.context, shape.page, shape.segment)
    if at > shape.arena * UNIT or min(*sizes, shape.tile_k) < 1 or not plan.buffers:
        raise _bad(f"arena of {shape.arena} units or a size below 1", f"plan {plan.target}")
    for number, counter in enumerate(plan.counters):
        if counter.scope > Scope.SYSTEM or counter.kind > 1 or counter.need < 1:
            raise _bad(f"is {counter}", f"counter {number}")
    if len(plan.counters) <= DONE or shape.segment % shape.page or len(plan.sites) < 2:
        raise _bad("lacks the counters or sites that every plan has", f"plan {plan.target}")


def _site(plan: Plan, number: int, site: Site) -> None:
    at = f"plan {plan.target} rows {plan.shape.rows}, site {number}"
    names = (*site.w, *site.b, site.norm, site.post, site.q_norm, site.k_norm, site.freq)
    lanes = site.lane[: site.parts] + site.rows[: site.parts]
    most = (*lanes, site.k, site.n, site.heads * site.head, site.experts, *site.col)
    code = Code(site.op) if site.op in set(Code) else None
    heads = code in (Code.KV, Code.ATTN, Code.FOLD) or site.flags & SiteFlag.FOLD
    wrong = (
        code is None
        or site.parts > 3
        or any(n != NONE and n >= plan.shape.weights for n in names)
        or (site.state != NONE and site.state >= plan.shape.states)
        or max(most) >= _WIDE
        or site.act > 2
        or site.terms * plan.shape.rows >= _WIDE
        or (code in (Code.LINEAR, Code.EXPERTS_UP, Code.EXPERTS_DOWN) and not _woven(site))
        or (heads and (min(site.kv_heads, site.head) < 1 or site.heads % site.kv_heads))
        or (code in (Code.KV, Code.ATTN) and site.state == NONE)
        or (code in (Code.EXPERTS_UP, Code.EXPERTS_DOWN) and not 0 < site.active <= site.experts)
        or (site.terms and site.term_stride % plan.shape.rows)
    )
    if wrong:
        raise _bad("names a weight, state, head or lane that does not exist", at)


def _woven(site: Site) -> bool:
    """Lanes that fill whole strips, two alike where a gate stands beside its up."""
    lanes = site.lane[: site.parts]
    if not lanes or min(*lanes, *site.rows[: site.parts]) < 1 or sum(lanes) % 16:
        return False
    return not site.act or (
        len(lanes) == 2 and lanes[0] == lanes[1] and site.rows[0] == site.rows[1]
    )


def _task(plan: Plan, task: Task, at: str) -> None:
    try:
        pack(task)
    except struct.error as error:
        raise _bad(str(error), at) from None
    part, parts = task.share
    if task.p0 >= len(plan.sites) or task.n_wait > 2 or part >= parts:
        raise _bad(f"names site {task.p0}, part {part} of {parts}, {task.n_wait} waits", at)
    named = [c for c, _ in task.waits] + ([task.sig] if task.sig != NONE else [])
    if max(named, default=0) >= len(plan.counters):
        raise _bad(f"names counter {max(named)} of {len(plan.counters)}", at)
    site = plan.sites[task.p0]
    if site.op != task.op or task.row0 or task.rows != plan.shape.rows:
        raise _bad("its op or rows are not its site's", at)
    first, count = task.pair
    if task.op in (Code.ATTN, Code.FOLD) and not first < first + count <= site.kv_heads:
        raise _bad(f"heads {first}..{first + count} of {site.kv_heads}", at)
    if task.p2 and task.op not in (Code.ATTN, Code.FOLD, Code.LINEAR):
        raise _bad("has a slice or heads where its op knows none", at)
    if task.out_off == NONE or (task.aux_off == NONE and task.op == Code.LINEAR and count):
        raise _bad("has nowhere to store", at)


def _host(task: Task, at: str, *, first: bool) -> None:
    """A step begins with `posted` and the `done` of the one before; a draw waits for `bound`."""
    counters = [counter for counter, _ in task.waits]
    begins = bool(task.flags & TaskFlag.FIRST)
    if begins != first or (first and counters != [POSTED, DONE]):
        raise GraphError(
            f"V2 counters: waits for {counters} where a step {'begins' if first else 'runs'}",
            at=at,
            hint="the first task of each worker, and no other, waits for posted and done",
        )
    bound = bool(task.flags & TaskFlag.BOUND)
    if (task.op == Code.SAMPLE) != bound or bound != (counters[1:] == [BOUND]):
        raise GraphError(
            f"V2 counters: waits for {counters}, a draw waits for {BOUND} last and is flagged so",
            at=at,
            hint="masks and sampling parameters are bound while the step runs",
        )


def _bad(message: str, at: str) -> GraphError:
    return GraphError(f"V8 bounds: {message}", at=at, hint="correct the record")
