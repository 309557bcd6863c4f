"""What a kernel is generated with, and what comes of it beside its text."""

from __future__ import annotations

from dataclasses import dataclass

from treadle.mega import codegen_peers
from treadle.mega.codegen_experts import Region
from treadle.mega.forms import Form
from treadle.mega.plan import Plan


@dataclass(frozen=True, slots=True)
class Knobs:
    """What measurement decides, not the plan. Tiles on their way to shared memory: `window` of a
    phase that has begun, `behind` of phases that have not (0 = the ring; None: by what a layer
    streams); at most `ring` in it. feeds: chunks of many rows in shared memory. segments: into
    which a row's positions are cut at most; those of longer rows are longer. evict_first:
    weights leave the cache before activations do. trace: workers note when they pass marks. strict:
    as a checker of races can follow it, slower."""

    window: int = 5
    behind: int | None = None
    feeds: int = 2
    segments: int = 64
    evict_first: bool = True
    ring: int = 16
    trace: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Vector:
    """Floats of the pool: params one after the other, NONE so many zeros. at: where they begin."""

    at: int
    params: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """What a worker streams for one task: strips of a site, tiles of k."""

    site: int
    strip0: int
    strips: int
    k0: int
    klen: int


@dataclass(frozen=True, slots=True)
class Program:
    """text: the source. ranges: [worker][phase][2][4], what a task of the phase covers. pieces:
    [worker], in streaming order. vectors: the pool of floats. packets: how many cross workers.
    phases_a_step: by how much a step moves the epoch. embed: a param. forms: of each site's
    weights in the stream. experts: what lies behind the streams, so many `kib` in all. fed: rows
    come in chunks. counters: first packet and packets of what is zero when a launch begins.
    inboxes: of the sums over ranks."""

    text: str
    plan: Plan
    ranges: tuple[tuple[tuple[tuple[int, ...], ...], ...], ...]
    pieces: tuple[tuple[Piece, ...], ...]
    vectors: tuple[Vector, ...]
    floats: int
    packets: int
    phases_a_step: int
    embed: int
    forms: tuple[Form, ...]
    experts: tuple[Region, ...]
    kib: int
    fed: bool
    counters: tuple[int, int]
    inboxes: tuple[codegen_peers.Inbox, ...] = ()
