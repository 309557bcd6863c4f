"""The small kernels of a decode step in Triton: one launch where torch needs several.

All are row-wise and read no size from the device, so that a CUDA graph may hold them. Sums are in
float32; what torch rounds between two operations is rounded here too.
"""

# Triton has no annotations, and is not installed where this is checked.
# pyright: basic, reportMissingImports=false, reportIndexIssue=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl

from treadle.backends.torch.overlap_triton import await_inputs, overlap

if TYPE_CHECKING:
    from collections.abc import Callable

_VOCABULARY_BLOCK = 2048
_GATE_BLOCK = 1024
_ROWS, _LONG = 4, 4096
_ROW_KEYS = {False: (1024, 2), True: (2048, 4)}  # for rows above _LONG; keys at once, warps
_ROW_GATES, _GATE_KEYS, _ROW_GATE_WARPS = 1, 1024, 1  # all by a sweep on an H200
_EMBED_BLOCK = 1024


@triton.jit
def _norm(
    x, y, w, total, out, D, eps, ADD: tl.constexpr, BLOCK: tl.constexpr, OVERLAP: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64) * D
    d = tl.arange(0, BLOCK)
    inside = d < D
    weight = tl.load(w + d, mask=inside, other=0.0)
    await_inputs(OVERLAP)
    wide = tl.load(x + row + d, mask=inside, other=0.0).to(tl.float32)
    if ADD:
        wide += tl.load(y + row + d, mask=inside, other=0.0).to(tl.float32)
        rounded = wide.to(total.dtype.element_ty)
        tl.store(total + row + d, rounded, mask=inside)
        wide = rounded.to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(wide * wide, 0) / D + eps)
    tl.store(out + row + d, (wide * scale * weight).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _activated(g, TANH: tl.constexpr):
    x = g
    if TANH:
        x = 1.5957691216057308 * (g + 0.044715 * g * g * g)
    return g / (1.0 + tl.exp(-x))


@triton.jit
def _gate(h, out, F, TANH: tl.constexpr, BLOCK: tl.constexpr, OVERLAP: tl.constexpr):
    await_inputs(OVERLAP)
    row = tl.program_id(0).to(tl.int64)
    f = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = f < F
    g = tl.load(h + row * 2 * F + f, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(h + row * 2 * F + F + f, mask=inside, other=0.0).to(tl.float32)
    g = _activated(g, TANH).to(out.dtype.element_ty).to(tl.float32)
    tl.store(out + row * F + f, (g * u).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _angles(pos, freq, cos, sin, mscale, r, BLOCK: tl.constexpr, OVERLAP: tl.constexpr):
    await_inputs(OVERLAP)
    t = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    inside = i < r
    angle = tl.load(pos + t).to(tl.float32) * tl.load(freq + i, mask=inside, other=0.0)
    c, s = tl.cos(angle) * mscale, tl.sin(angle) * mscale
    at = t * 2 * r + i
    tl.store(cos + at, c, mask=inside)
    tl.store(cos + at + r, c, mask=inside)
    tl.store(sin + at, -s, mask=inside)
    tl.store(sin + at + r, s, mask=inside)


@triton.jit
def _unpack(meta, previous, ids, pos, slots, rows, BLOCK: tl.constexpr, OVERLAP: tl.constexpr):
    await_inputs(OVERLAP)
    i = tl.arange(0, BLOCK)
    inside = i < rows
    token = tl.load(meta + i, mask=inside, other=0).to(tl.int64)
    # A row that drew nothing gives token 0: its sequence has failed already.
    named = tl.load(previous + (-1 - token), mask=inside & (token < 0), other=0)
    token = tl.where(token < 0, tl.maximum(named, 0), token)
    tl.store(ids + i, token, mask=inside)
    tl.store(pos + i, tl.load(meta + rows + i, mask=inside, other=0).to(tl.int64), mask=inside)
    slot = tl.load(meta + 2 * rows + i, mask=inside, other=0)
    tl.store(slots + i, slot.to(tl.int64), mask=inside)


@triton.jit
def _peak(x, tops, ids, faults, V, BLOCK: tl.constexpr, OVERLAP: tl.constexpr):
    await_inputs(OVERLAP)
    row, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1)
    v = chunk * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + row * V + v, mask=v < V, other=0.0).to(tl.float32)
    finite = tl.abs(value) < float("inf")
    value = tl.where((v < V) & finite, value, -float("inf"))
    at = row * tl.num_programs(1) + chunk
    tl.store(tops + at, tl.max(value, 0))
    tl.store(ids + at, chunk * BLOCK + tl.argmax(value, 0))
    tl.store(faults + at, tl.max(tl.where(finite, 0, 1), 0))


@triton.jit
def _peak_of_peaks(
    tops, ids, faults, drawn, chunks, FAULT: tl.constexpr, BLOCK: tl.constexpr,
    OVERLAP: tl.constexpr,
):  # fmt: skip
    await_inputs(OVERLAP)
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    inside = i < chunks
    value = tl.load(tops + row * chunks + i, mask=inside, other=-float("inf"))
    fault = tl.max(tl.load(faults + row * chunks + i, mask=inside, other=0), 0)
    token = tl.load(ids + row * chunks + tl.argmax(value, 0))
    tl.store(drawn + row, tl.where(fault > 0, -1, token))
    tl.store(drawn + tl.num_programs(0) + row, tl.where(fault > 0, FAULT, 0))


@triton.jit
def _row(
    x, w, y, out, N, K, ADD: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    OVERLAP: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    at = w + n.to(tl.int64)[:, None] * K + k[None]
    shown = (n < N)[:, None]
    # The first two tiles are under way before the inputs are there.
    part = tl.load(at, mask=shown & (k < K)[None], other=0.0)
    then = tl.load(at + BK, mask=shown & (BK + k < K)[None], other=0.0)
    await_inputs(OVERLAP)
    given = tl.load(x + k, mask=k < K, other=0.0).to(tl.float32)
    acc = part.to(tl.float32) * given[None]
    given = tl.load(x + BK + k, mask=BK + k < K, other=0.0).to(tl.float32)
    acc += then.to(tl.float32) * given[None]
    for begin in range(2 * BK, K, BK):
        inside = begin + k < K
        part = tl.load(at + begin, mask=shown & inside[None], other=0.0)
        given = tl.load(x + begin + k, mask=inside, other=0.0).to(tl.float32)
        acc += part.to(tl.float32) * given[None]
    total = tl.sum(acc, 1)
    if ADD:
        total += tl.load(y + n, mask=n < N, other=0.0).to(tl.float32)
    tl.store(out + n, total.to(out.dtype.element_ty), mask=n < N)


@triton.jit
def _row_gate(
    x, w, out, F, K, TANH: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, OVERLAP: tl.constexpr
):
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    at = w + n.to(tl.int64)[:, None] * K + k[None]
    up = w + (n.to(tl.int64) + F)[:, None] * K + k[None]
    shown = (n < F)[:, None] & (k < K)[None]
    of_gate = tl.load(at, mask=shown, other=0.0)
    of_up = tl.load(up, mask=shown, other=0.0)
    await_inputs(OVERLAP)
    given = tl.load(x + k, mask=k < K, other=0.0).to(tl.float32)[None]
    of_g = of_gate.to(tl.float32) * given
    of_u = of_up.to(tl.float32) * given
    for begin in range(BK, K, BK):
        inside = begin + k < K
        shown = (n < F)[:, None] & inside[None]
        given = tl.load(x + begin + k, mask=inside, other=0.0).to(tl.float32)[None]
        of_g += tl.load(at + begin, mask=shown, other=0.0).to(tl.float32) * given
        of_u += tl.load(up + begin, mask=shown, other=0.0).to(tl.float32) * given
    g = tl.sum(of_g, 1).to(out.dtype.element_ty).to(tl.float32)
    u = tl.sum(of_u, 1).to(out.dtype.element_ty).to(tl.float32)
    g = _activated(g, TANH).to(out.dtype.element_ty).to(tl.float32)
    tl.store(out + n, (g * u).to(out.dtype.element_ty), mask=n < F)


@triton.jit
def _embed(ids, table, out, D, BLOCK: tl.constexpr, OVERLAP: tl.constexpr):
    await_inputs(OVERLAP)
    row = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = d < D
    tl.store(out + row * D + d, tl.load(table + tl.load(ids + row) * D + d, mask=inside), inside)


def embed(ids: Any, table: Any) -> Any:
    """ids int64 [T] → rows [T, D] of table [V, D]."""
    T, D = ids.shape[0], table.shape[1]
    out = torch.empty((T, D), dtype=table.dtype, device=table.device)
    if T:
        grid = (T, triton.cdiv(D, _EMBED_BLOCK))
        _embed[grid](ids, table, out, D, BLOCK=_EMBED_BLOCK, **overlap(out))
    return out


def row_gate(x: Any, w: Any, act: str) -> Any:
    """x [1, K], w [2F, K], gates above ups → act(x · gᵀ) · (x · uᵀ) [1, F]."""
    F, K = w.shape[0] // 2, w.shape[1]
    out = torch.empty((1, F), dtype=x.dtype, device=x.device)
    BK, BN = min(_GATE_KEYS, triton.next_power_of_2(K)), _ROW_GATES
    grid = (triton.cdiv(F, BN),)
    _row_gate[grid](
        x, w, out, F, K, TANH=act != "silu", BN=BN, BK=BK, num_warps=_ROW_GATE_WARPS, **overlap(x)
    )
    return out


def row_product(x: Any, w: Any, y: Any = None) -> Any:
    """x [1, K] · wᵀ (+ y [1, N]) for w [N, K], contiguous all: all of a small matrix under way at
    once."""
    N, K = w.shape
    out = torch.empty((1, N), dtype=x.dtype, device=x.device)
    keys, warps = _ROW_KEYS[K > _LONG]
    BK, add = min(keys, triton.next_power_of_2(K)), y is not None
    _row[(triton.cdiv(N, _ROWS),)](
        x, w, y if add else x, out, N, K, ADD=add, BN=_ROWS, BK=BK, num_warps=warps,
        **overlap(x),
    )  # fmt: skip
    return out


def rmsnorm(w: Any, eps: float) -> Callable[[Any], Any]:
    """x [T, D] → x / sqrt(mean(x²) + eps) · w [D] float32."""
    norm = _normed(w, eps)

    def run(x: Any) -> Any:
        x = x.contiguous()
        out = torch.empty_like(x)
        norm(x, x, x, out, False)
        return out

    return run


def add_rmsnorm(w: Any, eps: float) -> Callable[[Any, Any], tuple[Any, Any]]:
    """x, y [T, D] → x + y, and the norm of that."""
    norm = _normed(w, eps)

    def run(x: Any, y: Any) -> tuple[Any, Any]:
        x, y = x.contiguous(), y.contiguous()
        total, out = torch.empty_like(x), torch.empty_like(x)
        norm(x, y, total, out, True)
        return total, out

    return run


def _normed(w: Any, eps: float) -> Callable[..., None]:
    D = w.shape[-1]
    block = triton.next_power_of_2(D)
    warps = 8 if block >= 2048 else 4

    def run(x: Any, y: Any, total: Any, out: Any, add: bool) -> None:
        if out.numel():
            rows = out.numel() // D
            _norm[(rows,)](
                x, y, w, total, out, D, eps, ADD=add, BLOCK=block, num_warps=warps, **overlap(x)
            )

    return run


def gate(act: str) -> Callable[[Any], Any]:
    """h [T, 2F], gates beside ups → act(g) · u [T, F]."""

    def run(h: Any) -> Any:
        T, F = h.shape[0], h.shape[1] // 2
        out = torch.empty((T, F), dtype=h.dtype, device=h.device)
        grid = (T, triton.cdiv(F, _GATE_BLOCK))
        if T:
            h = h.contiguous()
            _gate[grid](h, out, F, TANH=act != "silu", BLOCK=_GATE_BLOCK, **overlap(h))
        return out

    return run


def angles(freq: Any, pos: Any, mscale: float) -> tuple[Any, Any]:
    """Cosines and signed sines [T, 1, 2r] of pos [T] times freq [r]."""
    T, r = pos.shape[0], freq.shape[0]
    cos, sin = (torch.empty((T, 1, 2 * r), dtype=torch.float32, device=pos.device) for _ in "cs")
    block = triton.next_power_of_2(r)
    _angles[(T,)](pos, freq, cos, sin, mscale, r, BLOCK=block, num_warps=1, **overlap(pos))
    return cos, sin


def unpack(meta: Any, previous: Any, ids: Any, pos: Any, slots: Any) -> None:
    """Rows 0 to 2 of meta int32 [.., B] into three int64 [B]; ids below 0 name a row of
    `previous`."""
    rows = meta.shape[1]
    block = triton.next_power_of_2(rows)
    _unpack[(1,)](meta, previous, ids, pos, slots, rows, BLOCK=block, **overlap(meta))


def greedy(logits: Any, fault: int) -> Any:
    """logits [R, V] → int32 [2, R]: the most likely token, the lowest of equals, and 0; or -1 and
    `fault` for a row that is not finite."""
    R, V = logits.shape
    chunks = triton.cdiv(V, _VOCABULARY_BLOCK)
    device = logits.device
    tops = torch.empty((R, chunks), dtype=torch.float32, device=device)
    ids, faults = (torch.empty((R, chunks), dtype=torch.int32, device=device) for _ in "if")
    drawn = torch.empty((2, R), dtype=torch.int32, device=device)
    own = overlap(logits)
    _peak[(R, chunks)](logits, tops, ids, faults, V, BLOCK=_VOCABULARY_BLOCK, **own)
    block = triton.next_power_of_2(chunks)
    _peak_of_peaks[(R,)](
        tops, ids, faults, drawn, chunks, FAULT=fault, BLOCK=block, num_warps=1, **own
    )
    return drawn
