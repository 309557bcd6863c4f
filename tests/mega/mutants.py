"""Plans with one thing wrong, each made by a seeded choice. None = this plan has no such place."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from treadle.mega.plan import Plan
from treadle.mega.records import NONE, Code, Scope, Task

Mutation = Callable[[random.Random, Plan], Plan | None]


def _with(plan: Plan, at: int, **changes: int) -> Plan:
    tasks = list(plan.tasks)
    tasks[at] = replace(tasks[at], **changes)
    return replace(plan, tasks=tuple(tasks))


def _site(plan: Plan, at: int, **changes) -> Plan:
    sites = list(plan.sites)
    sites[at] = replace(sites[at], **changes)
    return replace(plan, sites=tuple(sites))


def _pick(rng: random.Random, plan: Plan, holds: Callable[[Task], bool]) -> int | None:
    found = [i for i, task in enumerate(plan.tasks) if holds(task)]
    return rng.choice(found) if found else None


def _owner(plan: Plan, at: int) -> int:
    for row in plan.index:
        for worker in range(plan.workers):
            if row[worker] <= at < row[worker + 1]:
                return worker
    raise AssertionError(at)


def _others_signal(plan: Plan, counter: int, worker: int) -> bool:
    """Whether somebody else signals a counter: else waiting for it is waiting for oneself."""
    if plan.counters[counter].kind or plan.counters[counter].scope == Scope.SYSTEM:
        return True
    lists = {w: {t.sig for t in plan.list_of(w)} for w in range(plan.workers)}
    return any(counter in sigs for w, sigs in lists.items() if w != worker)


def drop_wait(rng: random.Random, plan: Plan) -> Plan | None:
    at = _pick(rng, plan, lambda t: t.n_wait > 0)
    task = plan.tasks[at]
    gone = rng.randrange(task.n_wait)
    counter = task.waits[gone][0]
    if not _others_signal(plan, counter, _owner(plan, at)):
        return None
    kept = [wait for i, wait in enumerate(task.waits) if i != gone] + [(NONE, 0)] * 2
    (wait0, need0), (wait1, need1) = kept[:2]
    return _with(
        plan, at, n_wait=task.n_wait - 1, wait0=wait0, need0=need0, wait1=wait1, need1=need1
    )


def wait_elsewhere(rng: random.Random, plan: Plan) -> Plan | None:
    """Waits for the counter before the right one."""
    at = _pick(rng, plan, lambda t: t.n_wait > 0 and t.wait0 > 3)
    task = plan.tasks[at]
    before = task.wait0 - 1
    if not _others_signal(plan, task.wait0, _owner(plan, at)):
        return None
    return _with(plan, at, wait0=before, need0=plan.counters[before].need)


def change_need(rng: random.Random, plan: Plan) -> Plan | None:
    at = _pick(rng, plan, lambda t: t.n_wait > 0)
    return _with(plan, at, need0=plan.tasks[at].need0 + rng.choice((-1, 1)))


def change_need_everywhere(rng: random.Random, plan: Plan) -> Plan | None:
    """A counter and all who wait for it agree on the wrong number."""
    at = rng.randrange(2, len(plan.counters))
    need = plan.counters[at].need + rng.choice((-1, 1))
    counters = list(plan.counters)
    counters[at] = replace(counters[at], need=need)
    tasks = tuple(
        replace(
            t,
            need0=need if t.n_wait > 0 and t.wait0 == at else t.need0,
            need1=need if t.n_wait > 1 and t.wait1 == at else t.need1,
        )
        for t in plan.tasks
    )
    return replace(plan, counters=tuple(counters), tasks=tasks)


def swap_tasks(rng: random.Random, plan: Plan) -> Plan | None:
    rows = [
        (r, w)
        for r, row in enumerate(plan.index)
        for w in range(plan.workers)
        if row[w + 1] - row[w] > 1
    ]
    row, worker = rng.choice(rows)
    at = rng.randrange(plan.index[row][worker], plan.index[row][worker + 1] - 1)
    tasks = list(plan.tasks)
    tasks[at], tasks[at + 1] = tasks[at + 1], tasks[at]
    return replace(plan, tasks=tuple(tasks))


def drop_task(rng: random.Random, plan: Plan) -> Plan | None:
    at = rng.randrange(len(plan.tasks))
    index = tuple(tuple(i - (i > at) for i in row) for row in plan.index)
    return replace(plan, tasks=plan.tasks[:at] + plan.tasks[at + 1 :], index=index)


def repeat_task(rng: random.Random, plan: Plan) -> Plan | None:
    """A task runs twice; only the second signals."""
    at = rng.randrange(len(plan.tasks))
    first = replace(plan.tasks[at], sig=NONE)
    index = tuple(tuple(i + (i > at) for i in row) for row in plan.index)
    return replace(plan, tasks=(*plan.tasks[:at], first, *plan.tasks[at:]), index=index)


def shift_offset(rng: random.Random, plan: Plan) -> Plan | None:
    field = rng.choice(("in_off", "out_off", "aux_off"))
    at = _pick(rng, plan, lambda t: getattr(t, field) not in (NONE, 0) and _uses(plan, t, field))
    if at is None:
        return None
    return _with(plan, at, **{field: getattr(plan.tasks[at], field) + rng.choice((-1, 1))})


def _uses(plan: Plan, task: Task, field: str) -> bool:
    """aux of a linear is used where the task stores a slice."""
    return field != "aux_off" or task.op != Code.LINEAR or task.pair[1] > 0


def wrong_parity(rng: random.Random, plan: Plan) -> Plan | None:
    """One of a pair of buffers where the other belongs."""
    offsets = {b.name: b.offset // 16 for b in plan.buffers}
    pairs = [p for p in (("x0", "x1"), ("t0", "t1")) if p[0] in offsets and p[1] in offsets]
    if not pairs:
        return None
    a, b = (offsets[name] for name in rng.choice(pairs))
    swapped = {a: b, b: a}
    field = rng.choice(("in_off", "out_off", "aux_off", "terms_off"))
    if field == "terms_off":
        found = [i for i, site in enumerate(plan.sites) if site.terms and site.terms_off in swapped]
        at = rng.choice(found) if found else None
        return None if at is None else _site(plan, at, terms_off=swapped[plan.sites[at].terms_off])
    at = _pick(rng, plan, lambda t: getattr(t, field) in swapped and _uses(plan, t, field))
    if at is None:
        return None
    return _with(plan, at, **{field: swapped[getattr(plan.tasks[at], field)]})


def alias_buffers(rng: random.Random, plan: Plan) -> Plan | None:
    """What a phase writes lies where it reads."""
    at = _pick(rng, plan, lambda t: t.in_off not in (NONE, t.out_off) and t.op != Code.SAMPLE)
    site = plan.sites[plan.tasks[at].p0]
    if site.terms and site.op == Code.SAMPLE:
        return None
    old, new = plan.tasks[at].out_off, plan.tasks[at].in_off
    tasks = tuple(
        replace(
            t,
            in_off=new if t.in_off == old else t.in_off,
            out_off=new if t.out_off == old else t.out_off,
            aux_off=new if t.aux_off == old else t.aux_off,
        )
        for t in plan.tasks
    )
    sites = tuple(
        replace(s, terms_off=new if s.terms_off == old else s.terms_off) for s in plan.sites
    )
    shape = plan.shape
    if shape.logits_off == old:
        shape = replace(shape, logits_off=new)
    return replace(plan, tasks=tasks, sites=sites, shape=shape)


def drop_partial(rng: random.Random, plan: Plan) -> Plan | None:
    found = [i for i, site in enumerate(plan.sites) if site.terms]
    if not found:
        return None
    at = rng.choice(found)
    return _site(plan, at, terms=plan.sites[at].terms + rng.choice((-1, 1)))


def narrow_scope(rng: random.Random, plan: Plan) -> Plan | None:
    """A counter is heard by fewer than must hear it; all its records agree."""
    found = [
        i for i, c in enumerate(plan.counters) if c.kind == 0 and c.scope > Scope.CTA and i > 2
    ]
    if not found:
        return None
    at = rng.choice(found)
    scope = rng.randrange(plan.counters[at].scope)
    counters = list(plan.counters)
    counters[at] = replace(counters[at], scope=scope)
    # Of one worker by itself a cta counter is enough.
    users = {w for w in range(plan.workers) for t in plan.list_of(w) if at in (t.wait0, t.sig)}
    if len(users) < 2:
        return None
    tasks = tuple(replace(t, flags=t.flags & ~3 | scope) if t.sig == at else t for t in plan.tasks)
    return replace(plan, counters=tuple(counters), tasks=tasks)


def skip_rank(rng: random.Random, plan: Plan) -> Plan | None:
    found = [i for i, site in enumerate(plan.sites) if site.rank_stride]
    if not found:
        return None
    at = rng.choice(found)
    return _site(plan, at, rank_stride=rng.choice((0, plan.sites[at].rank_stride - 1)))


def shift_tiles(rng: random.Random, plan: Plan) -> Plan | None:
    at = _pick(rng, plan, lambda t: t.op in (Code.LINEAR, Code.EXPERTS_DOWN))
    field = rng.choice(("w_tile0", "w_tiles", "k0", "klen"))
    value = getattr(plan.tasks[at], field) + rng.choice((-1, 1))
    return None if value < 0 else _with(plan, at, **{field: value})


def wrong_share(rng: random.Random, plan: Plan) -> Plan | None:
    at = _pick(rng, plan, lambda t: t.p1 >> 16 > 1)
    part, parts = plan.tasks[at].share
    return _with(plan, at, p1=(part + 1) % parts | parts << 16)


def wrong_slice(rng: random.Random, plan: Plan) -> Plan | None:
    at = _pick(rng, plan, lambda t: t.pair[1] > 0)
    first, count = plan.tasks[at].pair
    if rng.random() < 0.5:
        return _with(plan, at, p2=first + 1 | count << 16)
    return _with(plan, at, p2=first | count + rng.choice((-1, 1)) << 16)


def wrong_stride(rng: random.Random, plan: Plan) -> Plan | None:
    field = rng.choice(("in_stride", "out_stride", "aux_stride"))
    found = [i for i, s in enumerate(plan.sites) if getattr(s, field) and _strided(plan, i, field)]
    if not found:
        return None
    at = rng.choice(found)
    return _site(plan, at, **{field: getattr(plan.sites[at], field) + rng.choice((-1, 1))})


def _strided(plan: Plan, site: int, field: str) -> bool:
    """Whether the stride is used: a bucket of one row has none, nor has an absent operand."""
    if plan.shape.rows == 1:
        return False
    off = {"in_stride": "in_off", "out_stride": "out_off", "aux_stride": "aux_off"}[field]
    return any(t.p0 == site and getattr(t, off) != NONE and _uses(plan, t, off) for t in plan.tasks)


def lose_signal(rng: random.Random, plan: Plan) -> Plan | None:
    at = _pick(rng, plan, lambda t: t.sig != NONE)
    return _with(plan, at, sig=rng.choice((NONE, plan.tasks[at].sig + 1)))


def wrong_weight(rng: random.Random, plan: Plan) -> Plan | None:
    """Another param of the same kind of use: only running the plan can tell."""
    field = rng.choice(("norm", "w", "q_norm"))
    found = [i for i, s in enumerate(plan.sites) if field != "w" and getattr(s, field) != NONE]
    if field == "w":
        found = [i for i, s in enumerate(plan.sites) if s.parts == 2]
        if not found:
            return None
        at = rng.choice(found)
        a, b, c = plan.sites[at].w
        return _site(plan, at, w=(b, a, c))
    if not found:
        return None
    at = rng.choice(found)
    if field == "q_norm":
        return _site(plan, at, q_norm=plan.sites[at].k_norm)
    others = [s.norm for s in plan.sites if s.norm not in (NONE, plan.sites[at].norm)]
    return _site(plan, at, norm=rng.choice(others)) if others else None


def wrong_constant(rng: random.Random, plan: Plan) -> Plan | None:
    code, field, value = rng.choice(
        ((Code.ATTN, "scale", 0.9), (Code.ATTN, "window", 1), (Code.LINEAR, "scale", 1.5),
         (Code.ATTN, "turned", 0), (Code.EMBED, "scale", 0.5))
    )  # fmt: skip
    found = [i for i, s in enumerate(plan.sites) if s.op == code]
    at = rng.choice(found)
    return _site(plan, at, **{field: value})


MUTATIONS: dict[str, Mutation] = {
    f.__name__: f
    for f in (
        drop_wait, wait_elsewhere, change_need, change_need_everywhere, swap_tasks, drop_task,
        repeat_task, shift_offset, wrong_parity, alias_buffers, drop_partial, narrow_scope,
        skip_rank, shift_tiles, wrong_share, wrong_slice, wrong_stride, lose_signal, wrong_weight,
        wrong_constant,
    )
}  # fmt: skip
