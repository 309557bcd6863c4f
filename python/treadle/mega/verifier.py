"""The verifier: a plan is proved right before anything runs it, on every compile, with no device.

V1 acyclic and V3 no deadlock (happens), V4 races, V7 reads and V12 sums (memory), V8 bounds
(fields), V2 needs, V6 weights, V9 groups, V10 scopes, V11 ranks (here). V5, the order of a weight
ring, holds by construction: a ring is filled in the order of the list.
"""

from __future__ import annotations

from collections.abc import Sequence

from treadle.errors import GraphError
from treadle.mega import fields, happens, induct, lanes, memory
from treadle.mega.plan import Plan
from treadle.mega.records import NONE, Code, Scope, SiteFlag, Task

Lists = Sequence[Sequence[Task]]


def verify(plans: Sequence[Plan]) -> None:
    """Proves the plans of all ranks (the same object where they are equal).

    Raises GraphError whose message starts with the rule and names task, counter or byte range.
    """
    short = {id(plan): induct.shortened(plan) for plan in plans}
    for plan in plans:
        fields.check_sites(plan)
    plans = [short[id(plan)] for plan in plans]
    lists = happens.written_out(plans)
    done: set[int] = set()
    for rank, plan in enumerate(plans):
        if id(plan) not in done:
            done.add(id(plan))
            fields.check(plan, rank, lists[rank])
            _needs(plan, rank, lists[rank], len(plans))
            _scopes(plan, rank, lists[rank])
            _weights(plan, rank, lists[rank])
    _ranks(plans)
    memory.check(plans, happens.run(plans, lists))


def _error(plan: Plan, rank: int, worker: int, task: Task, message: str, hint: str) -> GraphError:
    return GraphError(message, at=happens.place(plan, rank, worker, task), hint=hint)


def _needs(plan: Plan, rank: int, lists: Lists, ranks: int) -> None:
    """V2: a need is the number of tasks that signal a counter in a step; waits repeat it."""
    signals = [0] * len(plan.counters)
    scopes: dict[int, int] = {}
    for worker, mine in enumerate(lists):
        for task in mine:
            for counter, need in task.waits:
                if need != plan.counters[counter].need:
                    raise _error(
                        plan, rank, worker, task,
                        f"V2 counters: waits for {need} signals of counter {counter}, which gets "
                        f"{plan.counters[counter].need}",
                        "count the need, do not type it",
                    )  # fmt: skip
            if task.sig == NONE:
                continue
            signals[task.sig] += ranks if task.scope is Scope.SYSTEM else 1
            if scopes.setdefault(task.sig, task.scope) != task.scope or (
                plan.counters[task.sig].scope != task.scope
            ):
                raise _error(
                    plan, rank, worker, task,
                    f"V2 counters: signals counter {task.sig} at scope {task.scope.name}, the "
                    f"counter has {Scope(plan.counters[task.sig].scope).name}",
                    "one scope for all signals of a counter",
                )  # fmt: skip
    for number, counter in enumerate(plan.counters):
        wanted = 0 if counter.kind else signals[number]
        if (counter.kind and (signals[number] or counter.need != 1)) or (
            not counter.kind and (wanted != counter.need or not wanted)
        ):
            raise GraphError(
                f"V2 counters: counter {number} needs {counter.need} and gets {signals[number]}",
                at=f"plan {plan.target} rows {plan.shape.rows}, rank {rank}",
                hint="count the need, do not type it",
            )


def _scopes(plan: Plan, rank: int, lists: Lists) -> None:
    """V9: group counters stay in one group. V10: system scope on peer stores, and only there."""
    members: dict[int, set[int]] = {}
    for worker, mine in enumerate(lists):
        for task in mine:
            far = bool(plan.sites[task.p0].rank_stride)
            if task.sig != NONE and far != (task.scope is Scope.SYSTEM):
                raise _error(
                    plan, rank, worker, task,
                    f"V10 scopes: stores {'to peers' if far else 'here'} and signals at scope "
                    f"{task.scope.name}",
                    "peer stores need system scope, and nothing else does",
                )  # fmt: skip
            for counter in (*(c for c, _ in task.waits), task.sig):
                if counter != NONE and plan.counters[counter].scope in (Scope.GROUP, Scope.CTA):
                    members.setdefault(counter, set()).add(worker)
    for counter, workers in members.items():
        size = plan.shape.group if plan.counters[counter].scope == Scope.GROUP else 1
        if not size or len({worker // size for worker in workers}) != 1:
            raise GraphError(
                f"V9 groups: counter {counter} of scope "
                f"{Scope(plan.counters[counter].scope).name} is used by workers {sorted(workers)}",
                at=f"plan {plan.target} rows {plan.shape.rows}, rank {rank}",
                hint=f"keep it inside a group of {size} or widen its scope",
            )


def _weights(plan: Plan, rank: int, lists: Lists) -> None:
    """V6: every strip and k tile of a phase is read exactly once, every part dealt exactly once."""
    tiles: dict[int, list[tuple[int, int, int, int, int, int]]] = {}
    shares: dict[int, list[tuple[int, int, int]]] = {}
    slices: dict[int, list[tuple[int, int]]] = {}
    for mine in lists:
        for task in mine:
            part, parts = task.share
            if task.op in (Code.LINEAR, Code.EXPERTS_DOWN):
                end = task.w_tile0 + task.w_tiles
                k_end = task.k0 + task.klen
                piece = (task.w_tile0, end, task.k0, k_end, part, parts)
                tiles.setdefault(task.p0, []).append(piece)
                if task.pair[1]:
                    slices.setdefault(task.p0, []).append(task.pair)
            else:
                first = task.pair[0] if task.op in (Code.ATTN, Code.FOLD) else 0
                shares.setdefault(task.p0, []).append((first, part, parts))
    for number, site in enumerate(plan.sites):
        at = f"plan {plan.target} rows {plan.shape.rows}, rank {rank}"
        where = f"{at}, phase {number} {Code(site.op).name}"
        if site.op in (Code.LINEAR, Code.EXPERTS_DOWN):
            _tiled(plan, number, tiles.get(number, []), where)
            _sliced(site.k, slices.get(number, []), where)
        else:
            _shared(shares.get(number, []), where)


def _tiled(
    plan: Plan, number: int, pieces: list[tuple[int, int, int, int, int, int]], where: str
) -> None:
    site = plan.sites[number]
    high, wide = lanes.strips(site), -(-site.k // plan.shape.tile_k)
    unit = lanes.unit(site)
    area = sum((b - a) * (d - c) / parts for a, b, c, d, _, parts in pieces)
    inside = all(
        0 <= a < b <= high and 0 <= c < d <= wide and a % unit == b % unit == 0
        for a, b, c, d, _, _ in pieces
    )
    ordered = sorted(pieces)
    twice = any(
        x[0] < y[1] and y[0] < x[1] and x[2] < y[3] and y[2] < x[3]
        and (x[4] == y[4] or x[5] != y[5])
        for i, x in enumerate(ordered)
        for y in ordered[i + 1 :]
        if y[0] < x[1]
    )  # fmt: skip
    if not inside or twice or abs(area - high * wide) > 1e-6:
        raise GraphError(
            f"V6 weights: strips 0..{high} by k tiles 0..{wide} are not read exactly once: "
            f"{[piece[:4] for piece in ordered[:8]]}",
            at=where,
            hint="cut the strips into ranges that meet and do not overlap, whole units each",
        )


def _sliced(width: int, found: list[tuple[int, int]], where: str) -> None:
    ends = [0]
    for first, count in sorted(found):
        ends.append(first + count)
        if first != ends[-2]:
            break
    if found and (len(ends) != len(found) + 1 or ends[-1] != -(-width // 4)):
        raise GraphError(
            f"V6 weights: the slices {sorted(found)[:8]} of the residual sum do not meet",
            at=where,
            hint="deal the row's units once over the tasks of the phase",
        )


def _shared(found: list[tuple[int, int, int]], where: str) -> None:
    by_first: dict[int, list[tuple[int, int]]] = {}
    for first, part, parts in found:
        by_first.setdefault(first, []).append((part, parts))
    for first, mine in by_first.items():
        if sorted(mine) != [(i, mine[0][1]) for i in range(mine[0][1])]:
            raise GraphError(
                f"V6 weights: work from head {first} is dealt as {sorted(mine)[:8]}",
                at=where,
                hint="give every part to exactly one task",
            )
    if not found:
        raise GraphError("V6 weights: no task runs this phase", at=where, hint="deal its work")


def _ranks(plans: Sequence[Plan]) -> None:
    """V11: all ranks make the same reductions in the same order, each for as many ranks as run."""
    first = _reductions(plans[0])
    for rank, plan in enumerate(plans):
        if plan.shape.ranks != len(plans) or _reductions(plan) != first:
            raise GraphError(
                f"V11 ranks: rank {rank} is compiled for {plan.shape.ranks} ranks and "
                f"{len(_reductions(plan))} reductions, rank 0 has {len(first)}, {len(plans)} run",
                at=f"plan {plan.target} rows {plan.shape.rows}",
                hint="compile one plan and give it to every rank",
            )
        if any(site.rank_stride and site.flags & SiteFlag.ADD for site in plan.sites):
            raise GraphError("V11 ranks: a reduction adds in place", hint="store terms")


def _reductions(plan: Plan) -> list[tuple[int, int, int, int]]:
    return [
        (number, site.op, site.n, site.rank_stride)
        for number, site in enumerate(plan.sites)
        if site.rank_stride
    ]
