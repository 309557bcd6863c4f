"""Weights as the Hopper kernel streams them: register-ordered tiles, worker after worker.

A tile is 16 packed rows by 512 columns of bf16. Within it, 32 columns make two fragments A of
`mma.m16n8k16`; a lane's 16 bytes of one are contiguous: a warp reads them without conflicts.
Columns of a fragment are permuted such that the same lane finds its 8 columns of the activations in
one 16-byte word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.mega import lanes
from treadle.mega.codegen import COLUMNS, PAIR, Program
from treadle.mega.records import NONE, STRIP, Site

Array = Any
"""numpy, or torch where a caller packs on the GPU."""


def bf16(x: NDArray[Any]) -> NDArray[np.uint16]:
    """Rounds float32 to the nearest bfloat16, kept as uint16."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def widened(x: NDArray[np.uint16]) -> NDArray[np.float32]:
    """float32 of bfloat16 kept as uint16."""
    return (x.astype(np.uint32) << 16).view(np.float32)


def starts(program: Program) -> NDArray[np.uint64]:
    """[workers + 1] where each worker's stream begins, in bytes."""
    sites = program.plan.sites
    sizes = [
        sum(p.strips * _columns(sites[p.site], p.k0, p.klen) * STRIP * 2 for p in pieces)
        for pieces in program.pieces
    ]
    return np.concatenate(([0], np.cumsum(sizes))).astype(np.uint64)


def fragments(site: Site, weights: list[Array]) -> Array:
    """A site's weights in the order of tiles. weights: [rows, k] each; returns [strips, k * 16]."""
    part, row = lanes.order(site)
    joined = weights[0]
    if site.parts > 1:
        base = np.cumsum([0, *site.rows[: site.parts - 1]])
        joined = _concatenate(weights)[base[part] + row]
    shape = (len(part) // STRIP, 2, 8, site.k // PAIR, 4, 2, 2, 2)
    return _permute(joined.reshape(shape), (0, 3, 5, 2, 4, 6, 1, 7)).reshape(len(part) // STRIP, -1)


def placed(program: Program) -> Iterator[tuple[int, list[tuple[int, slice, slice]]]]:
    """For each site: (first 16-bit word of the blob, strips, words of a strip) of every piece."""
    at = (starts(program) // 2).tolist()
    found: dict[int, list[tuple[int, slice, slice]]] = {}
    for worker, pieces in enumerate(program.pieces):
        word = int(at[worker])
        for p in pieces:
            site = program.plan.sites[p.site]
            columns = _columns(site, p.k0, p.klen)
            words = slice(p.k0 * COLUMNS * STRIP, (p.k0 * COLUMNS + columns) * STRIP)
            strips = slice(p.strip0, p.strip0 + p.strips)
            found.setdefault(p.site, []).append((word, strips, words))
            word += p.strips * columns * STRIP
    yield from found.items()


def fill(blob: Array, program: Program, weight: Callable[[int], Array]) -> None:
    """Writes all streams. blob: 16-bit words [starts[-1] / 2]; weight(param) -> [rows, k]."""
    for number, places in placed(program):
        site = program.plan.sites[number]
        made = fragments(site, [weight(w) for w in site.w[: site.parts]])
        for word, strips, words in places:
            piece = made[strips, words].reshape(-1)
            blob[word : word + len(piece)] = piece


def pool(program: Program, vector: Callable[[int], NDArray[Any]]) -> NDArray[np.float32]:
    """Norms, biases and frequencies. vector(param) -> [n]."""
    out = np.zeros(program.floats, np.float32)
    for v in program.vectors:
        at = v.at
        for param, size in zip(v.params, v.sizes, strict=True):
            if param != NONE:
                out[at : at + size] = vector(param)
            at += size
    return out


def ranges(program: Program) -> NDArray[np.uint32]:
    """[workers, phases, 2, 4]"""
    return np.array(program.ranges, np.uint32)


def _columns(site: Site, k0: int, klen: int) -> int:
    return min((k0 + klen) * COLUMNS, site.k) - k0 * COLUMNS


def _permute(x: Array, axes: tuple[int, ...]) -> Array:
    return x.transpose(axes) if hasattr(x, "__array_interface__") else x.permute(axes)


def _concatenate(parts: list[Array]) -> Array:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    joined = parts[0].new_empty((sum(len(part) for part in parts), parts[0].shape[1]))
    at = 0
    for part in parts:
        joined[at : at + len(part)] = part
        at += len(part)
    return joined
