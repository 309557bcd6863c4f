"""Shared memory of a worker: what `Smem` in `cuda/mega/types.cuh` holds beside the ring."""

from __future__ import annotations

from collections.abc import Mapping

from treadle.mega.codegen_feed import CHUNK

SHARED = 232_448
"""Bytes of shared memory that a block may have on Hopper."""

TILE, WARPS = 16_384, 8
"""Bytes of a tile; warps that multiply."""


def held(model: Mapping[str, int | float | bool], experts: int) -> int:
    """Bytes beside the ring, rounded up by about a kilobyte. model: the constants of the source
    (`kRows` by the name Rows and so on); experts: bytes of the choice of experts."""
    m = {name: int(value) for name, value in model.items() if not isinstance(value, float)}
    rows, fed = m["Rows"], m["Feeds"] > 0
    group = m["Heads"] // m["KvHeads"]
    scratch = m["Scratch"] * 4
    if fed:  # attention's scratch memory lies where chunks do, angles are made when wanted
        inputs = max(rows * m["ActStride"] * 2, WARPS * rows * 80)
        inputs += max(m["Feeds"] * CHUNK * 16 * -(-rows // 8), scratch) + 64 + 32
    else:
        inputs = max(rows * m["ActStride"] * 2, scratch)
        inputs += m["Sets"] * m["Chunk"] * WARPS * rows * 64  # sums over warps
        inputs += m["Ropes"] * rows * m["Turned"] * 8
        inputs += 2 * WARPS * rows * (128 if rows == 1 else 4)  # sums of squares
    return (
        inputs
        + (group + 2) * m["Head"] * 4
        + (16 if m["Far"] >= 0 else rows * m["Width"] * 4)
        + m["Kinds"] * m["Items"] * 12
        + m["Phases"] * 32
        + 2 * WARPS * rows * 8
        + rows * 8
        + experts
        + 1024
    )


def tiles(model: Mapping[str, int | float | bool], experts: int) -> int:
    """Tiles of the ring that the rest leaves room for."""
    return (SHARED - held(model, experts)) // TILE
