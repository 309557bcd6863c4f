"""Where rows go that many sequences share: as chunks behind counters instead of packets.

A worker multiplies all rows, so of packets it polls as many bytes as it streams weights. Instead
the phases whose outputs all workers read (norms, folded attention, gates) write bf16 in the order
of the product's fragments and add to a counter a chunk; `cuda/mega/feed.cuh` copies chunks to
shared memory as they are done. Sums of squares of a norm's slices stand beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from treadle.mega.forms import BF16, Form
from treadle.mega.plan import Plan
from treadle.mega.records import Code, Site, Task

CHUNK, BAND, RING = 512, 16, 8
"""Columns of a chunk; strips that go through the tiles of k together; tiles that a ring needs."""

Tasks = list[list[Task]]
"""Of a phase, by worker."""


@dataclass(frozen=True, slots=True)
class Feed:
    """One buffer of chunks. at: its first packet; counter: of its first chunk; squares: packet of
    the first sum of squares, -1 without a norm; slices: of a row, each with a sum."""

    at: int
    counter: int
    squares: int
    slices: int

    def written(self) -> dict[str, int]:
        """What a phase that writes it says."""
        norm = {"out_squares": self.squares, "slices": self.slices} if self.squares >= 0 else {}
        return {"out": self.at, "tell": self.counter} | norm

    def read(self, eps: float) -> dict[str, int | float]:
        """What a phase that reads it says. eps: of the norm."""
        fields: dict[str, int | float] = {"fed": True, "in": self.at, "ready": self.counter}
        if self.squares >= 0:
            fields |= {"squares": self.squares, "slices": self.slices, "eps": eps}
        return fields


@dataclass(frozen=True, slots=True)
class Turns:
    """How often a step has written a buffer when a phase reads it: `first` times in the first
    layer of its template, `more` for each layer since, `all` in a whole step."""

    first: int
    more: int
    all: int

    def fields(self) -> dict[str, int]:
        """What the phase that reads it says."""
        return {"writes": self.all, "writes_before": self.first, "writes_a_layer": self.more}


def role(site: Site, behind: Site) -> str:
    """Which buffer a phase writes for the phase behind it, "" for none. Norms of one layer have two
    buffers: a worker may still read the first while others, which need not wait for it, write the
    second."""
    code = Code(site.op)
    if code is Code.PREP:
        return "gated" if behind.act else "norm"
    if code is Code.FOLD:
        return "fold"
    return "act" if code is Code.LINEAR and site.act else ""


def turns(
    plan: Plan,
    order: Sequence[int],
    tasks: Sequence[Sequence[Sequence[Task]]],
    forms: Sequence[Form],
    walk: Sequence[tuple[int, Sequence[int]]],
) -> dict[int, Turns] | None:
    """Of the linears' inputs by row, if those come in chunks: many rows, weights in bf16, norms
    read whole, every linear behind the phase that wrote for it. order: site of each row; tasks: of
    each row and worker; forms: of sites; walk: (repeats, rows) of each segment."""
    if plan.shape.rows <= 4 or any(site.experts for site in plan.sites):
        return None
    sites = [plan.sites[number] for number in order]
    for before, site, number, mine in zip(sites, sites[1:], order[1:], tasks[1:], strict=False):
        if Code(site.op) is not Code.LINEAR:
            continue
        whole = all(t.klen * CHUNK >= site.k for ts in mine for t in ts)
        if forms[number] is not BF16 or (Code(before.op) is Code.PREP and not whole):
            return None
    roles = [
        role(site, behind) for site, behind in zip(sites, [*sites[1:], sites[-1]], strict=True)
    ]
    writes: dict[str, int] = {}
    seen: dict[int, list[int]] = {}
    reads: dict[int, str] = {}
    last = ""
    for repeat, rows in walk:
        for row in [*rows] * repeat:
            if Code(sites[row].op) is Code.LINEAR:
                if not last or reads.setdefault(row, last) != last:
                    return None
                seen.setdefault(row, []).append(writes[last])
            last = roles[row]
            if last:
                writes[last] = writes.get(last, 0) + 1
    return {
        row: Turns(at[0], at[1] - at[0] if len(at) > 1 else 0, writes[reads[row]])
        for row, at in seen.items()
    }


def made(site: Site, plan: Plan, columns: int, counter: int, take: Callable[[int], int]) -> Feed:
    """A buffer for the output of a phase. take(packets): the first of so many."""
    rows, workers = plan.shape.rows, plan.workers
    at = take(chunks(columns) * CHUNK * -(-rows // 8))
    slices, squares = 1, -1
    if Code(site.op) is Code.PREP:
        while slices < 16 and 2 * slices * rows <= workers and columns % (64 * slices) == 0:
            slices *= 2
        squares = take(rows * -(-slices // 4))
    return Feed(at, counter, squares, slices)


def early(up: Site, tasks: Tasks, down: Tasks) -> Tasks | None:
    """A gate's strips dealt again, each worker's in two runs: first the columns that the workers
    of the phase behind multiply first, so that those need not wait for the last strips. down: tasks
    of that phase. None where its parts of k are one chunk, where the runs would not be whole, or
    where the first has not a strip a warp: then rows are read twice for less than it saves
    (Llama-3.2-1B x 16: 953 us a step against 949; Qwen3-8B, 8 and 4 strips: 4,534 and 4,554)."""
    parts = {(t.k0, t.klen) for mine in down for t in mine}
    lengths = {klen for _, klen in parts}
    per = CHUNK // 8  # strips of a chunk: a strip of gates makes 8 columns
    if len(lengths) > 1 or (tiles := lengths.pop()) < 2 or up.n != len(parts) * tiles * CHUNK:
        return None
    split, workers = (tiles + 1) // 2, len(tasks)
    found: Tasks = [[] for _ in range(workers)]
    for first, chunks_each in ((0, split), (split, tiles - split)):
        run, odd = divmod(len(parts) * chunks_each * per, workers)
        if odd or run < (4 if first else 8) or chunks_each * per % run:
            return None
        for worker, mine in enumerate(found):
            part, at = divmod(worker * run, chunks_each * per)
            strip = (part * tiles + first) * per + at
            mine.append(replace(tasks[worker][0], w_tile0=strip, w_tiles=run))
    return found


def dealt(plan: Plan, order: Sequence[int], tasks: Sequence[Tasks]) -> dict[int, Tasks]:
    """Rows of the table whose tasks are dealt anew, as `turns` is given them."""
    found: dict[int, Tasks] = {}
    for row, (up, down) in enumerate(pairwise(plan.sites[number] for number in order)):
        if not up.act or Code(down.op) is not Code.LINEAR:
            continue
        made = early(up, tasks[row], tasks[row + 1])
        if made is not None:
            found[row] = made
    return found


def chunks(columns: int) -> int:
    """Chunks, and counters, of so many columns."""
    return -(-columns // CHUNK)


def bands(strips: int) -> list[range]:
    """Strips that a worker streams side by side, tile after tile."""
    n = -(-strips // BAND)
    return [range(strips * i // n, strips * (i + 1) // n) for i in range(n)]


def segment(rows: int, context: int) -> int:
    """Positions that a worker attends to at a time, of so many at most. Each segment costs about a
    microsecond beside its pages; few rows need short ones so that all workers have some."""
    return min(128 if rows <= 4 else 1024, context)


def tail(plan: Plan) -> int:
    """Positions at the end of a row that join the segment before them: with long segments, an item
    of their own costs more than their pages."""
    return plan.shape.segment // 8 if plan.shape.rows > 4 else 0


def behind(plan: Plan) -> int:
    """Tiles that may be on their way before their phase begins. Each delays packets, and each keeps
    the memory busy until they are there: 1 is the faster where the phases of a layer stream 4 tiles
    a worker (Qwen3-0.6B: 480 us a step against 514), 2 where they stream 12 or more (Llama-3.2-1B:
    624 against 653)."""
    if any(s.experts for s in plan.sites):
        return 2
    sites = [s for s in plan.sites[:-2] if Code(s.op) is Code.LINEAR]
    streamed = sum(s.n * (2 if s.act else 1) * s.k * 2 for s in sites)
    return 1 if streamed < len(sites) * plan.workers * 8 * 16384 else 2
