"""attention: causal, grouped heads, ragged queries over paged keys and values."""

from __future__ import annotations

import math
from typing import Any

from treadle.errors import GraphError
from treadle.graph.op import op, parallel, ragged, whole
from treadle.graph.xp import widen

QUERY_BLOCK = 256
"""Queries scored at once: bounds the scores at [H, 256, length] without changing a single bit."""

attention = op(
    "attention",
    ins={
        "q": "T H d",
        "kv": "P 2 B K d",
        "starts": "S+1 i32",
        "lens": "S i32",
        "table": "S L i32",
    },
    outs={"o": "T H d"},
    attrs={"scale": float, "window": (int, 0), "softcap": (float, 0.0)},
    roles={
        "T": ragged,
        "S": ragged,
        "L": ragged,
        "H": parallel,
        "K": parallel,
        "d": whole,
        "P": whole,
        "B": whole,
    },
    where=("H % K == 0",),
    flops="4 * H * d * pairs",
    touched={"kv": "2 * S * L * B * K * d"},
)


@attention.reference
def _(
    xp: Any,
    q: Any,
    kv: Any,
    starts: Any,
    lens: Any,
    table: Any,
    *,
    scale: float,
    window: int = 0,
    softcap: float = 0.0,
) -> Any:
    """q [T, H, d], kv [P, 2, B, K, d], starts [S+1], lens [S], table [S, L] -> o [T, H, d].

    Sequence s owns queries starts[s]:starts[s+1], the last tokens of its lens[s]; query head h
    reads KV head h // (H / K). A query at position p sees keys max(0, p - window + 1)..p (from 0
    without a window). `softcap` c turns scores into c · tanh(score / c) before the softmax. Rows of
    q that belong to no sequence give zeros. Raises GraphError where the batch contradicts itself.
    """
    bounds, lengths = starts.tolist(), lens.tolist()
    size = kv.shape[2]
    out = xp.zeros(tuple(q.shape), like=q)
    for s, length in enumerate(lengths):
        first, last = bounds[s], bounds[s + 1]
        if not 0 <= first <= last <= q.shape[0] or last - first > length:
            raise _bad(s, f"owns tokens {first}:{last} of {q.shape[0]} and has length {length}")
        if first == last:
            continue
        used = math.ceil(length / size)
        if used > table.shape[1]:
            raise _bad(s, f"has length {length}, its table holds {table.shape[1]} pages of {size}")
        pages = table[s, :used]
        held = pages.tolist()
        if min(held) < 0 or max(held) >= kv.shape[0]:
            raise _bad(s, f"names page {min(held)} or {max(held)} of {kv.shape[0]}")
        paged = xp.take(kv, pages, axis=0)  # [used, 2, B, K, d]
        keys = _tokens(xp, paged, 0, length)  # [K, length, d]
        values = _tokens(xp, paged, 1, length)
        for at in range(first, last, QUERY_BLOCK):
            stop = min(at + QUERY_BLOCK, last)
            position = length - (last - at)
            block = _attend(
                xp, q[at:stop], keys, values, position, scale=scale, window=window, softcap=softcap
            )
            out[at:stop] = xp.astype(block, q.dtype)
    return out


def _tokens(xp: Any, paged: Any, which: int, length: int) -> Any:
    """[used, 2, B, K, d] -> [K, length, d] of keys (0) or values (1), wide."""
    used, _, size, heads, d = paged.shape
    flat = paged[:, which].reshape(used * size, heads, d)[:length]
    return widen(xp, xp.permute_dims(flat, (1, 0, 2)))


def _attend(
    xp: Any,
    q: Any,
    keys: Any,
    values: Any,
    position: int,
    *,
    scale: float,
    window: int,
    softcap: float,
) -> Any:
    """Queries [n, H, d] at positions position.. against keys and values [K, length, d]."""
    n, heads, d = q.shape
    kv_heads, length = keys.shape[:2]
    grouped = widen(xp, q).reshape(n, kv_heads, heads // kv_heads, d)
    rows = xp.permute_dims(grouped, (1, 2, 0, 3)).reshape(kv_heads, -1, d)  # [K, G·n, d]
    scores = xp.matmul(rows, xp.permute_dims(keys, (0, 2, 1))) * scale  # [K, G·n, length]
    if softcap:
        scores = softcap * xp.tanh(scores / softcap)
    scores = scores.reshape(kv_heads, -1, n, length)
    key = xp.arange(0, length, like=q)[None, :]
    query = xp.arange(position, position + n, like=q)[:, None]
    seen = key <= query  # [n, length]
    if window:
        seen = seen & (key > query - window)
    # Each query sees at least itself, so the row maximum is finite and the sum at least one.
    scores = xp.where(seen, scores, -math.inf)
    weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    weights = weights / xp.sum(weights, axis=-1, keepdims=True)
    mixed = xp.matmul(weights.reshape(kv_heads, -1, length), values)  # [K, G·n, d]
    mixed = mixed.reshape(kv_heads, -1, n, d)
    return xp.permute_dims(mixed, (2, 0, 1, 3)).reshape(n, heads, d)


def _bad(sequence: int, message: str) -> GraphError:
    return GraphError(
        f"attention: sequence {sequence} {message}",
        hint="correct starts, lens and table of the batch",
    )
