"""Phases to sites and drafts: constants, buffers, and each worker's share of every phase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from treadle.graph import FORMATS, Graph
from treadle.mega import contract, lanes
from treadle.mega.phases import Heads, Norm, Phase
from treadle.mega.records import NONE, STRIP, UNIT, WORDS, Code, Site, SiteFlag
from treadle.mega.target import Target
from treadle.mega.tiles import Work, tile

TOKENS = 512
"""Tokens of the last sample that the arena keeps at its very beginning, the same in every plan."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """What a plan is compiled for: rows a step, slots, positions a slot, their segments, pages."""

    rows: int
    slots: int
    context: int
    segment: int
    page: int
    ranks: int


@dataclass(slots=True)
class Draft:
    """A task before waits, signal and places. offset: of its output inside the buffer, units."""

    worker: int
    fields: dict[str, int] = field(default_factory=dict[str, int])
    offset: int = 0
    group: int = 0


@dataclass(frozen=True, slots=True)
class _Cell:
    """A buffer as its last writer laid it out: row stride in units, rows, terms of a sum."""

    stride: int
    rows: int
    terms: int = 0


class Builder:
    """Goes through the phases in order and remembers how each buffer was last laid out.

    sizes: bytes of every buffer met. sites: one a phase.
    """

    def __init__(self, graph: Graph, target: Target, bucket: Bucket, crews: int) -> None:
        self.sizes: dict[str, int] = {"tokens": TOKENS * 4}
        self.sites: list[Site] = []
        self._graph, self._target, self._bucket, self._crews = graph, target, bucket, crews
        self._params = {name: i for i, name in enumerate(graph.params)}
        self._states = {name: i for i, name in enumerate(graph.state)}
        self._cells: dict[str, _Cell] = {}

    def phase(self, phase: Phase) -> list[Draft]:
        """Adds a phase's site, deals its work. Raises GraphError where a role forbids the cut."""
        site = self._site(phase)
        strips = phase.code in (Code.LINEAR, Code.EXPERTS_DOWN)
        drafts = self._tiles(phase, site) if strips else self._shares(phase, site)
        k_parts = 1 + max(draft.offset for draft in drafts)
        contract.check(phase.code, split_k=k_parts > 1)
        site = self._out(phase, site, k_parts, drafts)
        if phase.store:
            site = replace(site, aux_stride=units(site.k))
            self._lay(phase.store, _Cell(units(site.k), self._bucket.rows))
            if phase.code is Code.LINEAR:
                _slices(drafts, site.k)
        self.sites.append(site)
        return drafts

    # -- constants --------------------------------------------------------------------------

    def _site(self, phase: Phase) -> Site:
        load = phase.load
        source, terms = self._cells.get(load.base), self._cells.get(load.terms)
        if phase.code is Code.SAMPLE:
            terms = source if source is not None and source.terms else None
        site = Site(
            op=int(phase.code),
            flags=_flags(phase),
            act=int(phase.act),
            parts=len(phase.weights),
            k=load.width,
            n=phase.n,
            w=_three([self._params[name] for name in phase.weights], NONE),
            b=_three([self._params[name] for name in phase.biases], NONE),
            rows=_three(phase.rows, 0),
            lane=_three(self._lanes(phase), 0),
            col=_three([0] * len(phase.rows) if phase.act else _starts(phase.rows), 0),
            norm=self._param(load.norm),
            norm_eps=load.norm.eps if load.norm else 0.0,
            post=self._param(load.post),
            post_eps=load.post.eps if load.post else 0.0,
            terms=terms.terms if terms else 0,
            term_stride=terms.stride * terms.rows if terms else 0,
            in_stride=source.stride if source else 0,
            scale=phase.scale,
            cap=phase.cap,
        )
        if load.fold is not None:
            site = _shaped(site, load.fold)
        if phase.heads is not None:
            site = _shaped(site, phase.heads)
            if phase.code is not Code.FOLD:
                site = self._attention(site, phase.heads)
        if phase.route is not None:
            route = phase.route
            site = replace(
                site,
                experts=route.experts,
                active=route.active,
                score=int(route.sigmoid) | int(route.renorm) << 1,
                aux_stride=self._cells["scores"].stride,
            )
        return site

    def _attention(self, site: Site, heads: Heads) -> Site:
        return replace(
            site,
            scale=heads.scale,
            cap=heads.cap,
            q_norm=self._param(heads.q_norm),
            k_norm=self._param(heads.k_norm),
            q_eps=heads.q_norm.eps if heads.q_norm else 0.0,
            k_eps=heads.k_norm.eps if heads.k_norm else 0.0,
            freq=self._params[heads.freq] if heads.freq else NONE,
            turned=self._pairs(heads.freq) if heads.freq else 0,
            mscale=heads.mscale,
            state=self._states[heads.state],
        )

    def _pairs(self, freq: str) -> int:
        return self._graph.dims.size(self._graph.params[freq].shape[0]) or 0

    def _param(self, norm: Norm | None) -> int:
        return NONE if norm is None else self._params[norm.weight]

    def _lanes(self, phase: Phase) -> list[int]:
        if phase.act:
            return [self._target.lane] * 2
        if phase.out == "qkv" and self._crews > 1:
            return [n // self._crews for n in phase.rows]
        if len(phase.rows) > 1:
            return [-(-n // STRIP) * STRIP for n in phase.rows]
        return [STRIP] * len(phase.rows)

    # -- work -------------------------------------------------------------------------------

    def _tiles(self, phase: Phase, site: Site) -> list[Draft]:
        """Strips over the workers, balanced by the bytes of their formats."""
        bits = tuple(FORMATS[self._graph.params[name].format] for name in phase.weights)
        costs = lanes.costs(site, bits)
        crews = self._crews if phase.out == "qkv" else 1
        reads, writes = self._packets(phase, site) if self._target.packets else (0, 0)
        k_tiles = -(-site.k // self._target.tile_k)
        work = Work(costs, lanes.unit(site), k_tiles, crews, reads, writes)
        plain = phase.code is Code.LINEAR
        tiles = tile(
            work,
            self._target,
            partial=phase.terms and plain,
            rows=self._bucket.rows if plain else 0,
        )
        crew = self._target.workers // crews
        return [
            Draft(
                t.worker,
                {
                    "w_tile0": t.strip0,
                    "w_tiles": t.strips,
                    "k0": t.k0,
                    "klen": t.klen,
                    "p1": t.part | t.parts << 16,
                },
                offset=t.k_part,
                group=t.worker // crew,
            )
            for t in tiles
        ]

    def _packets(self, phase: Phase, site: Site) -> tuple[int, int]:
        """Packets of a linear's whole input, and of a term of its output: 16 columns make three."""
        reads = site.k // STRIP * 3
        if phase.load.fold is not None:
            reads = (reads + site.heads) * -(-self._bucket.context // self._bucket.segment)
        prepared = self._bucket.rows > self._target.prep  # then a row is summed by one worker
        return reads * (self._bucket.rows if prepared else 1), site.n // STRIP * 3

    def _shares(self, phase: Phase, site: Site) -> list[Draft]:
        """One task a worker; its share is dealt when the batch is known."""
        split = "part" in (phase.out, phase.load.base)
        crews = self._crews if split else 1
        crew = self._target.workers // crews
        fields: dict[str, int] = {}
        if phase.code is Code.EXPERTS_UP:
            fields["w_tiles"] = lanes.strips(site)
        found: list[Draft] = []
        for worker in range(self._target.workers):
            mine = fields | {"p1": worker % crew | crew << 16}
            if phase.code in (Code.ATTN, Code.FOLD):
                each = site.kv_heads // crews
                mine["p2"] = worker // crew * each | each << 16
            found.append(Draft(worker, mine, group=worker // crew))
        return found

    # -- buffers ----------------------------------------------------------------------------

    def _out(self, phase: Phase, site: Site, k_parts: int, drafts: Sequence[Draft]) -> Site:
        """Lays out what a phase writes; a draft's offset turns from a k part into units."""
        rows, stride = self._bucket.rows, units(phase.n)
        if phase.out == "tokens":
            return site
        if phase.terms or phase.out == "keys":
            ranks = self._bucket.ranks if phase.reduce else 1
            self._lay(phase.out, _Cell(stride, rows, ranks * k_parts))
            for draft in drafts:
                draft.offset *= rows * stride
            across = k_parts * rows * stride if ranks > 1 else 0
            return replace(site, out_stride=stride, rank_stride=across)
        if phase.code is Code.EXPERTS_UP:
            rows *= site.active
        elif phase.out == "part":
            rows *= -(-self._bucket.context // self._bucket.segment)
        self._lay(phase.out, _Cell(stride, rows))
        return replace(site, out_stride=stride)

    def _lay(self, name: str, cell: _Cell) -> None:
        self._cells[name] = cell
        size = cell.rows * max(cell.terms, 1) * cell.stride * UNIT
        self.sizes[name] = max(self.sizes.get(name, 0), size)


def units(width: int) -> int:
    """16 B units of a row of so many elements."""
    return -(-width // WORDS)


def _flags(phase: Phase) -> int:
    load = phase.load
    split = phase.code is Code.ATTN and phase.out == "part"
    chosen = {
        SiteFlag.WANTED: load.wanted,
        SiteFlag.TAKE: load.take,
        SiteFlag.FOLD: load.fold is not None,
        SiteFlag.ADD: phase.add,
        SiteFlag.STAGED: load.staged,
        SiteFlag.APPEND: split,
        SiteFlag.SPLIT: split,
    }
    return sum(flag for flag, on in chosen.items() if on)


def _shaped(site: Site, heads: Heads) -> Site:
    return replace(
        site, heads=heads.heads, kv_heads=heads.kv_heads, head=heads.head, window=heads.window
    )


def _slices(drafts: Sequence[Draft], width: int) -> None:
    """The residual sum of a phase's loader, stored in slices by its tasks."""
    total = units(width)
    for position, draft in enumerate(drafts):
        first = total * position // len(drafts)
        count = total * (position + 1) // len(drafts) - first
        draft.fields["p2"] = first | count << 16


def _starts(rows: Sequence[int]) -> list[int]:
    return [sum(rows[:j]) for j in range(len(rows))]


def _three(values: Sequence[int], empty: int) -> tuple[int, int, int]:
    a, b, c = [*values, empty, empty, empty][:3]
    return a, b, c
