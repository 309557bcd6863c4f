"""Weights as the Hopper kernel streams them: register-ordered tiles, worker after worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.backends.mega.cuda_tiles import Array, Codes, Eights, code_fragments, fragments, plain
from treadle.backends.mega.cuda_tiles import bf16 as bf16
from treadle.backends.mega.cuda_tiles import widened as widened
from treadle.mega.codegen_covers import COLUMNS, PAIR
from treadle.mega.codegen_experts import KIB
from treadle.mega.codegen_feed import bands
from treadle.mega.codegen_program import Program
from treadle.mega.forms import BF16, Form
from treadle.mega.records import NONE, Site


def starts(program: Program) -> NDArray[np.uint64]:
    """[workers + 1] where each worker's stream begins, in bytes."""
    sites = program.plan.sites
    sizes = [
        sum(
            p.strips * _words(program.forms[p.site], _columns(sites[p.site], p.k0, p.klen)) * 2
            for p in pieces
        )
        for pieces in program.pieces
    ]
    return np.concatenate(([0], np.cumsum(sizes))).astype(np.uint64)


def size(program: Program) -> int:
    """Bytes of all streams and of the experts behind them."""
    return _behind(program) + program.kib * KIB


def _behind(program: Program) -> int:
    return -(-int(starts(program)[-1]) // KIB) * KIB


def alike(one: Program, other: Program) -> bool:
    """Whether two programs stream the same bytes, as those of different rows may."""

    def read(program: Program) -> list[Any]:
        return [(s.w, s.rows, s.n, s.k, s.act) for s in program.plan.sites if s.parts]

    same = all(getattr(one, n) == getattr(other, n) for n in ("pieces", "fed", "experts", "kib"))
    forms = [[p.forms[i] for i, s in enumerate(p.plan.sites) if s.parts] for p in (one, other)]
    return (
        same
        and forms[0] == forms[1]
        and one.plan.params == other.plan.params
        and read(one) == read(other)
    )


def placed(program: Program) -> Iterator[tuple[int, list[tuple[int, slice, slice]]]]:
    """For each site: (first 16-bit word of the blob, strips, words of a strip) of every piece."""
    starting = (starts(program) // 2).tolist()
    found: dict[int, list[tuple[int, slice, slice]]] = {}
    for worker, pieces in enumerate(program.pieces):
        word = int(starting[worker])
        for p in pieces:
            site = program.plan.sites[p.site]
            form, columns = program.forms[p.site], _columns(site, p.k0, p.klen)
            first = _words(form, p.k0 * COLUMNS)
            end, tile = first + _words(form, columns), form.words * COLUMNS // PAIR
            if not program.fed:
                strips, words = slice(p.strip0, p.strip0 + p.strips), slice(first, end)
                found.setdefault(p.site, []).append((word, strips, words))
                word += p.strips * _words(form, columns)
                continue
            for band in bands(p.strips):  # tile after tile of k, the band's strips of each
                strips = slice(p.strip0 + band.start, p.strip0 + band.stop)
                for at in range(first, end, tile):
                    words = slice(at, min(at + tile, end))
                    found.setdefault(p.site, []).append((word, strips, words))
                    word += len(band) * (words.stop - words.start)
    yield from found.items()


def fill(blob: Array, program: Program, weight: Callable[[int], Array | Codes | Eights]) -> None:
    """Writes all streams. blob: 16-bit words [size / 2]; weight(param): bf16 [rows, k], experts in
    front where there are, or codes where the program was told of such a format."""
    for number, places in placed(program):
        site, form = program.plan.sites[number], program.forms[number]
        weights = [weight(w) for w in site.w[: site.parts]]
        if form is BF16:
            made = fragments(site, [plain(x) for x in weights])
        else:
            made = code_fragments(site, form, weights)
        for word, strips, words in places:
            piece = made[strips, words].reshape(-1)
            blob[word : word + len(piece)] = piece
    for region in program.experts:
        site = program.plan.sites[region.site]
        every = [plain(weight(w)) for w in site.w[: site.parts]]
        at = (_behind(program) + region.kib * KIB) // 2
        for expert in range(site.experts):
            made = fragments(site, [x[expert] for x in every]).reshape(-1)
            blob[at : at + len(made)] = made
            at += len(made)


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


def _words(form: Form, columns: int) -> int:
    return columns // PAIR * form.words
