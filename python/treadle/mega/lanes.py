"""The order in which the rows of a site's weights are packed: groups of lanes, strips of 16.

Group g holds lane[0] rows of the first weight from row g · lane[0] on, then lane[1] of the second,
and so on; rows beyond a weight's end are padding. One rule serves plain linears (one lane of 16),
q, k and v by KV head, and gate beside up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from treadle.mega.records import STRIP, Site

if TYPE_CHECKING:
    from numpy.typing import NDArray


def groups(site: Site) -> int:
    """How many groups it takes to hold every row."""
    return max(-(-site.rows[j] // site.lane[j]) for j in range(site.parts))


def strips(site: Site) -> int:
    """Strips of a weight; of one expert's where the site has experts."""
    return sum(site.lane[: site.parts]) * groups(site) // STRIP


def unit(site: Site) -> int:
    """Strips that no range may part: outputs of gate and up need both."""
    return max(sum(site.lane[: site.parts]) // STRIP, 1) if site.act else 1


def order(site: Site) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Weight and row of each packed row. A row at or beyond the weight's end is padding.

    Shapes: both [strips · 16].
    """
    return _order(site.rows[: site.parts], site.lane[: site.parts])


@lru_cache(maxsize=256)
def _order(
    rows: tuple[int, ...], lanes: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    parts: list[NDArray[np.int64]] = []
    found: list[NDArray[np.int64]] = []
    for group in range(max(-(-n // lane) for n, lane in zip(rows, lanes, strict=True))):
        for j, lane in enumerate(lanes):
            parts.append(np.full(lane, j))
            found.append(group * lane + np.arange(lane))
    return np.concatenate(parts), np.concatenate(found)


def costs(site: Site, bits: tuple[float, ...]) -> tuple[float, ...]:
    """Bytes of each unit of strips, from the bits a weight has in its format."""
    parts = slice(site.parts)
    return _costs(site.rows[parts], site.lane[parts], bits, unit(site), site.k * STRIP / 8)


@lru_cache(maxsize=256)
def _costs(
    rows: tuple[int, ...], lanes: tuple[int, ...], bits: tuple[float, ...], unit: int, each: float
) -> tuple[float, ...]:
    part, _ = _order(rows, lanes)
    strips = np.asarray(bits)[part].reshape(-1, STRIP).mean(axis=1) * each
    return tuple(strips.reshape(-1, unit).sum(axis=1).tolist())


def made(site: Site, strip0: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which outputs of a range of strips are real, and the column of each.

    With a gate an output is one of a lane: the pair of gate and up counts once.
    """
    parts = slice(site.parts)
    return _made(site.rows[parts], site.lane[parts], site.col[parts], bool(site.act), strip0, count)


@lru_cache(maxsize=4096)
def _made(
    rows: tuple[int, ...],
    lanes: tuple[int, ...],
    cols: tuple[int, ...],
    gated: bool,
    strip0: int,
    count: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    part, row = _order(rows, lanes)
    inside = slice(strip0 * STRIP, (strip0 + count) * STRIP)
    part, row = part[inside], row[inside]
    if gated:
        part, row = part[part == 0], row[part == 0]
    keep = np.flatnonzero(row < np.asarray(rows)[part])
    return keep, np.asarray(cols)[part[keep]] + row[keep]


def columns(site: Site, strip0: int, count: int) -> tuple[tuple[int, int], ...]:
    """Output columns of a range of strips as ascending disjoint [first, end) runs."""
    cols = np.sort(made(site, strip0, count)[1])
    if not len(cols):
        return ()
    breaks = np.flatnonzero(np.diff(cols) != 1) + 1
    return tuple((int(run[0]), int(run[-1]) + 1) for run in np.split(cols, breaks))
