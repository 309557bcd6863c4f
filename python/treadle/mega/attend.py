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
Partial = tuple[Array, Array, Array]


def attend(
    q: Array,
    kv: Array,
    pages: Array,
    head: int,
    pos: Array,
    segment: int,
    size: int,
    site: Site,
) -> list[Partial | None]:
    """Partials of query rows against one segment of one KV head; None where a row sees nothing.

    q [n, G, d], kv [P, 2, B, K, d], pages of the slot in order, pos [n]; segment covers positions
    segment · size on. A partial: o [G·d] = sum of exp(s − m) · v, m [G], l [G] = sum of exp(s − m).
    """
    page = kv.shape[2]
    first, end = segment * size, min((segment + 1) * size, int(pos[-1]) + 1)
    at = np.arange(first, max(first, end))
    held = pages[at // page]
    keys = kv[held, 0, at % page, head]  # [positions, d]
    values = kv[held, 1, at % page, head]
    found: list[Partial | None] = []
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
        found.append((o.reshape(-1), m, weight.sum(axis=-1)))
    return found


def fold(o: Array, m: Array, weights: Array) -> Array:
    """Partials of one row in ascending order, o [segments, heads·d], m and
    weights (l) [segments, heads] ->
    [heads, d]."""
    heads = m.shape[1]
    acc = np.zeros((heads, o.shape[1] // heads), o.dtype)
    top, total = np.full(heads, -np.inf, o.dtype), np.zeros(heads, o.dtype)
    for part, most, weight in zip(o.reshape(len(o), *acc.shape), m, weights, strict=True):
        new = np.maximum(top, most)
        old, fresh = np.exp(top - new), np.exp(most - new)
        acc = acc * old[:, None] + part * fresh[:, None]
        total = total * old + weight * fresh
        top = new
    return acc / total[:, None]
