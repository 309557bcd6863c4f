"""Attention by segments: partials (o, m, l) of fixed runs of positions, folded in their order.

Source: online softmax (arXiv 1805.02867), split over keys as in Flash-Decoding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.mega import deal
from treadle.mega.records import Site

Array = NDArray[Any]


def attend(
    q: Array,
    kv: Array,
    pages: Array,
    head: int,
    pos: Array,
    segment: int,
    size: int,
    site: Site,
) -> list[Array | None]:
    """Partials of query rows against one segment of one KV head; None where a row sees nothing.

    q [n, G, d], kv [P, 2, B, K, d], pages of the slot in order, pos [n]; segment covers positions
    segment · size on. Each partial is [o: G·d | m: G | l: G] with o = sum of exp(s − m) · v.
    """
    page = kv.shape[2]
    first, end = segment * size, min((segment + 1) * size, int(pos[-1]) + 1)
    at = np.arange(first, max(first, end))
    held = pages[at // page]
    keys = kv[held, 0, at % page, head]  # [positions, d]
    values = kv[held, 1, at % page, head]
    found: list[Array | None] = []
    for row, position in zip(q, pos.tolist(), strict=True):
        inside = (at >= deal.seen(position, site.window)) & (at <= position)
        if not inside.any():
            found.append(None)
            continue
        s = row @ keys[inside].T * site.scale  # [G, positions]
        if site.cap:
            s = site.cap * np.tanh(s / site.cap)
        m = s.max(axis=-1)
        weight = np.exp(s - m[:, None])
        o = weight @ values[inside]  # [G, d]
        found.append(np.concatenate((o.reshape(-1), m, weight.sum(axis=-1))))
    return found


def fold(partials: Array, heads: int, head: int) -> Array:
    """Partials [segments, heads·d + 2·heads] of one row in ascending order -> [heads, d]."""
    width = heads * head
    acc = np.zeros((heads, head), partials.dtype)
    top = np.full(heads, -np.inf, partials.dtype)
    total = np.zeros(heads, partials.dtype)
    for partial in partials:
        o, m, part = partial[:width].reshape(heads, head), partial[width : width + heads], partial[width + heads : width + 2 * heads]
        new = np.maximum(top, m)
        old, fresh = np.exp(top - new), np.exp(m - new)
        acc = acc * old[:, None] + o * fresh[:, None]
        total = total * old + part * fresh
        top = new
    return acc / total[:, None]
