"""Tensor parallelism in the Hopper kernel: what of a plan for several ranks the source must know.

The plan of a sharded graph is one for all ranks. A linear whose output all ranks sum writes its
packets into an inbox of every rank, the terms of rank 0 first; who reads the sum takes them in this
order (`cuda/mega/inbox.cuh`). The keys of the draw have no phase of their own: they travel in it
(`cuda/mega/agree.cuh`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from treadle.mega.codegen_covers import refuse
from treadle.mega.codegen_text import Names
from treadle.mega.plan import Plan, Shape
from treadle.mega.records import Code, Task

BALLOTS = 2 + 2 * 8 * 6 + 1
"""Packets that a rank sends for a row's draw: `kBallots` in `cuda/mega/boxes.cuh` and one more."""

MOST = 8
"""Ranks that the kernel's arguments have room for."""


@dataclass(frozen=True, slots=True)
class Inbox:
    """Packets of the terms of a sum: the first, so many of each rank."""

    at: int
    each: int
    ranks: int

    def source(self, packet: int) -> int | None:
        """The rank that sends a packet of this inbox; None for packets elsewhere."""
        rank = (packet - self.at) // self.each
        return rank if 0 <= rank < self.ranks else None


def drawn(plan: Plan) -> Plan:
    """The plan without the phase of keys, which the kernel's draw contains; for one rank the same.

    Raises Unsupported naming what keeps the kernel from running on several ranks.
    """
    if plan.shape.ranks == 1:
        return plan
    keys = len(plan.sites) - 2
    if Code(plan.sites[keys].op) is not Code.KEYS:
        raise refuse("draws over several ranks only where the vocabulary is divided")
    segments = list(zip(plan.index, plan.segments, strict=True))
    tasks: list[Task] = []
    index: list[tuple[int, ...]] = []
    for bounds, _ in segments:
        row = [len(tasks)]
        for first, end in pairwise(bounds):
            kept = (t for t in plan.tasks[first:end] if t.p0 != keys)
            tasks += [replace(t, p0=t.p0 - (t.p0 > keys)) for t in kept]
            row.append(len(tasks))
        index.append(tuple(row))
    sites = (*plan.sites[:keys], *plan.sites[keys + 1 :])
    made = replace(plan, index=tuple(index), tasks=tuple(tasks), sites=sites)
    _check(made)
    return made


def ballots(shape: Shape) -> int:
    """Packets of a rank's memory in which the draws of all ranks meet."""
    return shape.rows * BALLOTS * shape.ranks if shape.ranks > 1 else 0


def inboxes(names: Sequence[Names], plan: Plan) -> tuple[Inbox, ...]:
    """Of the sums over ranks that the phases make."""
    found = {(n.fields["out"], n.fields["rank_stride"]) for n in names if "rank_stride" in n.fields}
    return tuple(Inbox(int(at), int(each), plan.shape.ranks) for at, each in sorted(found))


def _check(plan: Plan) -> None:
    """Raises Unsupported where a worker might still read an inbox that is written again.

    An inbox is written again two sums later, by a worker that has read the sum between. That one
    waits for all who make parts of it, or of what it is made from, and each of those has read the
    sum before. So every worker must make a part of each linear but the one before attention.
    """
    shape = plan.shape
    if shape.ranks > MOST:
        raise refuse(f"runs on at most {MOST} ranks", "use fewer")
    if any(site.experts for site in plan.sites):
        raise refuse("has no experts on several ranks yet", "use one GPU")
    attended = {n - 1 for n, s in enumerate(plan.sites) if Code(s.op) is Code.ATTN}
    makes = {n for n, s in enumerate(plan.sites) if Code(s.op) is Code.LINEAR and n not in attended}
    for worker in range(plan.workers):
        if missing := makes - {t.p0 for t in plan.list_of(worker)}:
            raise refuse(
                f"has {plan.workers} workers a rank, more than strips of site {min(missing)}",
                "plan for fewer workers",
            )
