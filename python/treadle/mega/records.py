"""The records of a plan as small dataclasses: what `docs/mega-plan.md` lays out byte by byte.

One table a record gives both directions, so that writer, reader and document cannot drift: the
order of the fields is the order of the bytes. Offsets count 16 bytes, `NONE` means absent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, TypeVar

NONE = 0xFFFFFFFF
UNIT = 16
"""Bytes an arena offset counts."""

WORDS = UNIT // 4
"""Elements (f32, i32) in a unit."""

STRIP = 16
"""Packed weight rows of a strip."""


class Code(IntEnum):
    """What a task does."""

    EMBED = 1
    PREP = 2
    LINEAR = 3
    KV = 4
    ATTN = 5
    FOLD = 6
    EXPERTS_UP = 7
    EXPERTS_DOWN = 8
    KEYS = 9
    SAMPLE = 10


class Scope(IntEnum):
    """Who hears a signal: the worker itself, its group, all workers, all ranks."""

    CTA = 0
    GROUP = 1
    GRID = 2
    SYSTEM = 3


class TaskFlag:
    """Bits of a task beside the scope of its signal. Plain integers: records hold them as such."""

    PACKET = 4
    BOUND = 16
    FIRST = 32


class SiteFlag:
    """Bits of a site."""

    WANTED = 1
    TAKE = 2
    FOLD = 4
    ADD = 8
    APPEND = 16
    SPLIT = 32
    STAGED = 64


class Act(IntEnum):
    """Gate of a feed-forward block."""

    NONE = 0
    SILU = 1
    GELU_TANH = 2


POSTED, BOUND, DONE = 0, 1, 2
"""Counters every plan has: the batch is there, the masks are there, the step is over."""


@dataclass(frozen=True, slots=True)
class Task:
    """64 bytes of one worker's list."""

    op: int
    n_wait: int = 0
    flags: int = 0
    wait0: int = NONE
    need0: int = 0
    wait1: int = NONE
    need1: int = 0
    sig: int = NONE
    w_tile0: int = 0
    w_tiles: int = 0
    in_off: int = NONE
    out_off: int = NONE
    aux_off: int = NONE
    row0: int = 0
    rows: int = 0
    k0: int = 0
    klen: int = 0
    p0: int = 0
    p1: int = 1 << 16
    p2: int = 0

    @property
    def scope(self) -> Scope:
        """Of the signal."""
        return Scope(self.flags & 3)

    @property
    def share(self) -> tuple[int, int]:
        """Which part of how many of dealt work."""
        return self.p1 & 0xFFFF, self.p1 >> 16

    @property
    def pair(self) -> tuple[int, int]:
        """p2 as first and count: a slice in units of 4 elements, or KV heads."""
        return self.p2 & 0xFFFF, self.p2 >> 16

    @property
    def waits(self) -> tuple[tuple[int, int], ...]:
        """(counter, need) of each wait."""
        return ((self.wait0, self.need0), (self.wait1, self.need1))[: self.n_wait]


@dataclass(frozen=True, slots=True)
class Site:
    """192 bytes: the constants of one use of an operator."""

    op: int
    flags: int = 0
    act: int = 0
    parts: int = 0
    k: int = 0
    n: int = 0
    w: tuple[int, int, int] = (NONE, NONE, NONE)
    b: tuple[int, int, int] = (NONE, NONE, NONE)
    rows: tuple[int, int, int] = (0, 0, 0)
    lane: tuple[int, int, int] = (0, 0, 0)
    col: tuple[int, int, int] = (0, 0, 0)
    norm: int = NONE
    norm_eps: float = 0.0
    post: int = NONE
    post_eps: float = 0.0
    terms_off: int = NONE
    terms: int = 0
    term_stride: int = 0
    rank_stride: int = 0
    in_stride: int = 0
    out_stride: int = 0
    aux_stride: int = 0
    scale: float = 1.0
    cap: float = 0.0
    heads: int = 0
    kv_heads: int = 0
    head: int = 0
    window: int = 0
    q_norm: int = NONE
    k_norm: int = NONE
    q_eps: float = 0.0
    k_eps: float = 0.0
    freq: int = NONE
    turned: int = 0
    mscale: float = 1.0
    state: int = NONE
    experts: int = 0
    active: int = 0
    score: int = 0
    zero: int = 0


@dataclass(frozen=True, slots=True)
class Counter:
    """8 bytes. need: signals a step; kind 1 = the host signals; carrier 1 = packet."""

    need: int
    scope: int = Scope.GRID
    kind: int = 0
    carrier: int = 0
    zero: int = 0


@dataclass(frozen=True, slots=True)
class Segment:
    """16 bytes: a run of tasks repeated with strides; a layer template where repeat > 1."""

    repeat: int = 1
    site_stride: int = 0
    counter_stride: int = 0
    zero: int = 0


FORMATS: dict[type, struct.Struct] = {
    Task: struct.Struct("<HBB IIIII II III HHHH III"),
    Site: struct.Struct("<HHHH II 3I3I 3I3I3I IfIf III I III ff IIII IIff IIfI III I"),
    Counter: struct.Struct("<IBBBB"),
    Segment: struct.Struct("<IIII"),
}
"""Record -> layout. Sizes are 64, 192, 8 and 16; a test compares them with the document."""

Record = TypeVar("Record", Task, Site, Counter, Segment)


def pack(record: Task | Site | Counter | Segment) -> bytes:
    """The bytes of a record. Raises struct.error for a number that does not fit its field."""
    return FORMATS[type(record)].pack(*_flat(record))


def unpack(kind: type[Record], data: bytes | memoryview) -> Record:
    """A record from exactly its bytes."""
    numbers: Iterator[Any] = iter(FORMATS[kind].unpack(data))
    triples = _TRIPLES if kind is Site else frozenset[str]()
    values: list[Any] = [
        (next(numbers), next(numbers), next(numbers)) if name in triples else next(numbers)
        for name in _NAMES[kind]
    ]
    return kind(*values)


def _flat(record: Task | Site | Counter | Segment) -> list[float | int]:
    found: list[float | int] = []
    triples = _TRIPLES if isinstance(record, Site) else frozenset[str]()
    for name in _NAMES[type(record)]:
        value: Any = getattr(record, name)
        found += value if name in triples else (value,)
    return found


_NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in FORMATS}
_TRIPLES = frozenset(("w", "b", "rows", "lane", "col"))
