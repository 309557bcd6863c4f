"""Which strips each worker streams: contiguous ranges of equal bytes, cut along k if it pays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from treadle.mega.target import Target

WORTH = 0.9
"""A finer cut is taken where the longest range shrinks to this share or less."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A worker's range: strips, tiles of k, the index of its k part, its share of the rows."""

    worker: int
    strip0: int
    strips: int
    k0: int
    klen: int
    k_part: int = 0
    part: int = 0
    parts: int = 1


@dataclass(frozen=True, slots=True)
class Work:
    """A weight as the tile plan sees it.

    costs: bytes of each unit (strips that stay together), `unit` strips each. k_tiles: tiles along
    k. groups: the units fall into so many equal runs, each for its own group of workers. reads,
    writes: packets of the whole input, and of one term of the output as its reader takes it.
    """

    costs: tuple[float, ...]
    unit: int
    k_tiles: int
    groups: int = 1
    reads: int = 0
    writes: int = 0


def share(costs: Sequence[float], workers: int) -> list[range]:
    """Contiguous ranges of near equal cost, one a worker; a unit goes where its middle falls."""
    total = sum(costs)
    owner = [
        min(int((before + cost / 2) * workers / total), workers - 1)
        for before, cost in zip(accumulate(costs, initial=0.0), costs, strict=False)
    ]
    ranges: list[range] = []
    at = 0
    for worker in range(workers):
        first = at
        while at < len(owner) and owner[at] == worker:
            at += 1
        ranges.append(range(first, at))
    return ranges


@lru_cache(maxsize=256)
def tile(work: Work, target: Target, *, partial: bool, rows: int) -> tuple[Tile, ...]:
    """The ranges of all workers, in worker order. `partial`: the reader sums parts of k.

    Groups keep to their workers. The cut along k is uniform, so that every output has the same
    number of partials and their order is the order of k.
    """
    crew = target.workers // work.groups
    k_parts = _k_parts(work, target, crew) if partial and target.split_k else 1
    row_parts = _row_parts(work, target, crew) if rows > target.stage and target.split_rows else 1
    each = len(work.costs) // work.groups
    found: list[Tile] = []
    for group in range(work.groups):
        costs = work.costs[group * each : (group + 1) * each]
        # Where inputs are polled, a worker keeps to one part of k: the parts one after the other.
        pieces = [*costs] * k_parts if work.reads else [c for c in costs for _ in range(k_parts)]
        for column, pieces_of in enumerate(share(pieces, crew // row_parts)):
            cuts = _by_unit(pieces_of, each) if work.reads else _by_k(pieces_of, k_parts)
            for k_part, units in cuts:
                k0, klen = _k_range(work.k_tiles, k_parts, k_part)
                for part in range(row_parts):
                    found.append(
                        Tile(
                            group * crew + column * row_parts + part,
                            (group * each + units.start) * work.unit,
                            len(units) * work.unit,
                            k0,
                            klen,
                            k_part,
                            part,
                            row_parts,
                        )
                    )
    return tuple(sorted(found, key=lambda t: t.worker))


def longest(costs: Sequence[float], workers: int) -> float:
    """Cost of the slowest worker's range."""
    return max(sum(costs[i] for i in part) for part in share(costs, workers))


def _k_parts(work: Work, target: Target, crew: int) -> int:
    best, cost = 1, longest(work.costs, crew)
    for parts in (2, 4, 8):
        if parts > work.k_tiles:
            break
        widest = _k_range(work.k_tiles, parts, parts - 1)[1] / work.k_tiles
        now = longest([c * widest for c in work.costs for _ in range(parts)], crew)
        if now <= cost * WORTH or (now <= cost and _packets(work, parts) < _packets(work, best)):
            best, cost = parts, now
    return best


def _packets(work: Work, parts: int) -> float:
    """What a worker polls of the input, and later one of the output, where k is cut in parts."""
    return work.reads / parts + work.writes * parts


def _row_parts(work: Work, target: Target, crew: int) -> int:
    best, cost = 1, longest(work.costs, crew)
    for parts in (2, 4, 8):
        if crew % parts:
            break
        now = longest(work.costs, crew // parts) / parts
        if now <= cost * WORTH:
            best, cost = parts, now
    return best


def _k_range(tiles: int, parts: int, part: int) -> tuple[int, int]:
    """First tile and tiles of a part; the last part is the longest."""
    first = tiles * part // parts
    return first, tiles * (part + 1) // parts - first


def _by_unit(pieces: range, units: int) -> Iterator[tuple[int, range]]:
    """Pieces are k parts × units, units fastest: the units of each k part, where there are any."""
    for k_part in range(pieces.start // units, -(-pieces.stop // units)):
        before = k_part * units
        first, end = max(pieces.start - before, 0), min(pieces.stop - before, units)
        if end > first:
            yield k_part, range(first, end)


def _by_k(pieces: range, k_parts: int) -> Iterator[tuple[int, range]]:
    """Pieces are units × k parts, k fastest: the units of each k part, where there are any."""
    for k_part in range(k_parts):
        first = -(-(pieces.start - k_part) // k_parts)
        end = -(-(pieces.stop - k_part) // k_parts)
        if end > first:
            yield k_part, range(first, end)
