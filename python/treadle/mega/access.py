"""What a task reads and writes, worked out from its records and the roles of its op's axes.

Nothing here comes from the compiler's memory of what it meant: an offset, stride or range that is
wrong in the record is wrong here too, and the verifier sees it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from treadle.mega import contract, lanes
from treadle.mega.plan import Plan
from treadle.mega.records import NONE, UNIT, Code, Site, SiteFlag, Task

Deal = tuple[str, int, int]
"""Kind, part, parts: two parts of one dealing never touch the same bytes."""


@dataclass(frozen=True, slots=True)
class Region:
    """Rows of bytes: `count` rows of `width`, `stride` apart, from byte `start` on."""

    start: int
    width: int
    stride: int
    count: int

    @property
    def end(self) -> int:
        """First byte behind the region."""
        return self.start + (self.count - 1) * self.stride + self.width


@dataclass(frozen=True, slots=True)
class Access:
    """One range of one memory. space: "arena", or "kv<n>" whose bytes are KV heads.

    far: the same slot on every rank. inplace: what else the buffer holds stays. kept: the data of
    earlier steps may be read. whole: the reader must take all that the writers made.
    """

    space: str
    region: Region
    write: bool
    deal: Deal | None = None
    far: bool = False
    inplace: bool = False
    kept: bool = False
    whole: bool = False


def accesses(plan: Plan, rank: int, task: Task) -> list[Access]:
    """Everything a task touches. Raises GraphError where a role forbids the cut it makes."""
    site = plan.sites[task.p0]
    return [a for a in _OPS[Code(task.op)](plan, rank, site, task) if a.region.width > 0]


def _rows(off: int, stride: int, rows: int, first: int, end: int) -> Region:
    """Elements first..end of `rows` rows."""
    return Region(off * UNIT + first * 4, (end - first) * 4, stride * UNIT, rows)


def _read(
    off: int, stride: int, rows: int, first: int, end: int, deal: Deal | None = None
) -> Access:
    return Access("arena", _rows(off, stride, rows, first, end), write=False, deal=deal)


def _rowwise(task: Task) -> Deal | None:
    part, parts = task.share
    return ("rows", part, parts) if parts > 1 else None


def _itemwise(task: Task) -> Deal | None:
    part, parts = task.share
    return ("items", part, parts) if parts > 1 else None


def _stored(
    rank: int, site: Site, task: Task, first: int, end: int, rows: int, deal: Deal | None
) -> list[Access]:
    """The output columns first..end, and their reading where the output is added to them."""
    off = task.out_off + (rank * site.rank_stride if site.rank_stride else 0)
    region = _rows(off, site.out_stride, rows, first, end)
    adds = bool(site.flags & SiteFlag.ADD)
    out = Access("arena", region, True, deal, far=bool(site.rank_stride), inplace=adds)
    return [replace(out, write=False, inplace=False), out] if adds else [out]


def _loaded(plan: Plan, site: Site, task: Task, first: int, end: int) -> Iterator[Access]:
    """The loader's reads; columns first..end where nothing needs the whole row."""
    taken = bool(site.flags & SiteFlag.TAKE)
    deal = None if taken else _rowwise(task)
    if site.norm != NONE or site.terms:
        first, end = 0, site.k
    if site.flags & SiteFlag.FOLD:
        yield from _partials(plan, site, task, 0, site.heads, write=False)
    elif task.in_off != NONE:
        yield _read(task.in_off, site.in_stride, task.rows, first, end, deal)
    stride = site.term_stride // max(task.rows, 1)
    if site.terms:
        rows = site.terms * task.rows
        read = _read(site.terms_off, stride, rows, 0, site.k, None)
        yield replace(read, whole=True)


def _partials(
    plan: Plan, site: Site, task: Task, first: int, end: int, *, write: bool
) -> Iterator[Access]:
    """o, m and l of query heads first..end, of every segment and row."""
    shape = plan.shape
    rows = task.rows * -(-shape.context // shape.segment)
    off, stride = (task.out_off, site.out_stride) if write else (task.in_off, site.in_stride)
    width = site.heads * site.head
    for a, b in (
        (first * site.head, end * site.head),
        (width + first, width + end),
        (width + site.heads + first, width + site.heads + end),
    ):
        deal = _itemwise(task) if write else None
        yield Access("arena", _rows(off, stride, rows, a, b), write, deal)


def _query_heads(site: Site, task: Task) -> tuple[int, int]:
    first, count = task.pair
    group = site.heads // site.kv_heads
    return first * group, (first + count) * group


def _pages(site: Site, first: int, count: int, deal: Deal | None, *, write: bool) -> Access:
    """KV of some heads; what earlier steps wrote there stays."""
    region = Region(first, count, 1 << 20, 1)
    return Access(f"kv{site.state}", region, write, deal, inplace=True, kept=True)


def _embed(plan: Plan, rank: int, site: Site, task: Task) -> list[Access]:
    tokens = plan.buffers[0]
    old = Access("arena", Region(tokens.offset, tokens.size, tokens.size, 1), False, kept=True)
    return [old, *_stored(rank, site, task, 0, site.n, task.rows, _rowwise(task))]


def _prep(plan: Plan, rank: int, site: Site, task: Task) -> list[Access]:
    found = list(_loaded(plan, site, task, 0, site.k))
    found += _stored(rank, site, task, 0, site.k, task.rows, _rowwise(task))
    if task.aux_off != NONE:
        kept = _rows(task.aux_off, site.aux_stride, task.rows, 0, site.k)
        found.append(Access("arena", kept, True, _rowwise(task)))
    return found


def _linear(plan: Plan, rank: int, site: Site, task: Task) -> list[Access]:
    tile = plan.shape.tile_k
    k = (min(task.k0 * tile, site.k), min((task.k0 + task.klen) * tile, site.k))
    strips = (task.w_tile0 * 16, (task.w_tile0 + task.w_tiles) * 16)
    sizes = {"T": task.rows, "I": site.k, "O": lanes.strips(site) * 16}
    touched = contract.reads("linear", sizes, {"O": strips, "I": k})
    found = list(_loaded(plan, site, task, *touched.operands["x"]["I"]))
    for first, end in lanes.columns(site, task.w_tile0, task.w_tiles):
        found += _stored(rank, site, task, first, end, task.rows, _rowwise(task))
    first, count = task.pair
    if count:
        end = min((first + count) * 4, site.k)
        kept = _rows(task.aux_off, site.aux_stride, task.rows, first * 4, end)
        found.append(Access("arena", kept, True, _rowwise(task)))
    return found


def _kv(plan: Plan, rank: int, site: Site, task: Task) -> list[Access]:
    deal = _rowwise(task)
    read = _read(task.in_off, site.in_stride, task.rows, 0, site.k, deal)
    q = _rows(task.out_off, site.out_stride, task.rows, 0, site.heads * site.head)
    out = Access("arena", q, True, deal, inplace=True)
    return [read, out, _pages(site, 0, site.kv_heads, deal, write=True)]


def _attn(plan: Plan, rank: int, site: Site, task: Task) -> list[Access]:
    deal, (first, count) = _itemwise(task), task.pair
    low, high = _query_heads(site, task)
    q, k = site.heads * site.head, site.kv_heads * site.head
    columns = [(low * site.head, high * site.head)]
    if site.flags & SiteFlag.APPEND:
        for base in (q, q + k):
            columns.append((base + first * site.head, base + (first + count) * site.head))
    found = [_read(task.in_off, site.in_stride, task.rows, a, b) for a, b in columns]
    found.append(_pages(site, first, count, deal, write=False))
    if site.flags & SiteFlag.APPEND:
        found.append(_pages(site, first, count, deal, write=True))
    if site.flags & SiteFlag.SPLIT:
        return found + list(_partials(plan, site, task, low, high, write=True))
    return found + _stored(rank, site, task, low * site.head, high * site.head, task.rows, deal)


def _fold(plan: Plan, rank: int, site: Site, task: Task) -> list[Access]:
    low, high = _query_heads(site, task)
    found = list(_partials(plan, site, task, low, high, write=False))
    d = site.head
    return found + _stored(rank, site, task, low * d, high * d, task.rows, _itemwise(task))


def _scores(site: Site, task: Task) -> Access:
    return _read(task.aux_off, site.aux_stride, task.rows, 0, site.experts)


def _experts_up(plan: Plan, rank: int, site: Site, task: Task) -> list[Access]:
    rows = task.rows * site.active
    whole = replace(task, p1=1 << 16)  # every worker loads every row
    return [
        *_loaded(plan, site, whole, 0, site.k),
        _scores(site, task),
        *_stored(rank, site, task, 0, site.n, rows, _itemwise(task)),
    ]


def _experts_down(plan: Plan, rank: int, site: Site, task: Task) -> list[Access]:
    rows = task.rows * site.active
    found = [_read(task.in_off, site.in_stride, rows, 0, site.k), _scores(site, task)]
    for first, end in lanes.columns(site, task.w_tile0, task.w_tiles):
        found += _stored(rank, site, task, first, end, task.rows, None)
    return found


def _keys(plan: Plan, rank: int, site: Site, task: Task) -> list[Access]:
    deal = _rowwise(task)
    read = _read(task.in_off, site.in_stride, task.rows, 0, site.k, deal)
    return [read, *_stored(rank, site, task, 0, 4, task.rows, deal)]


def _sample(plan: Plan, rank: int, site: Site, task: Task) -> list[Access]:
    rows = task.rows * max(site.terms, 1)
    read = _read(task.in_off, site.in_stride, rows, 0, site.k)
    size = plan.buffers[0].size
    token = Region(task.out_off * UNIT, size, size, 1)
    deal = _rowwise(task)
    return [replace(read, whole=bool(site.terms)), Access("arena", token, True, deal, inplace=True)]


_OPS = {
    Code.EMBED: _embed,
    Code.PREP: _prep,
    Code.LINEAR: _linear,
    Code.KV: _kv,
    Code.ATTN: _attn,
    Code.FOLD: _fold,
    Code.EXPERTS_UP: _experts_up,
    Code.EXPERTS_DOWN: _experts_down,
    Code.KEYS: _keys,
    Code.SAMPLE: _sample,
}
