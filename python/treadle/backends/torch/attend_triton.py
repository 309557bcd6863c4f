"""Attention of one query a sequence over pages, and its prologue, in Triton.

Lengths are read on the device and the grid depends on the batch alone, so a CUDA graph may hold
both. Keys of a sequence are split between programs (flash decoding); a second kernel combines.
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
    from treadle.backends.torch.attention import Pool

_PROGRAMS = 1056  # wanted at once; this and the next line by a sweep on an H200
_KEYS, _WARPS, _STAGES = 64, 2, 3
_MOST_SPLITS = 32


@triton.jit
def _attend(
    q, keys, values, table, lens, out, logs, scale, cap, row_stride, column_stride,
    K, WINDOW: tl.constexpr, CAP: tl.constexpr, SPLITS: tl.constexpr, PAGE: tl.constexpr,
    G: tl.constexpr, GP: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, BN: tl.constexpr,
    OVERLAP: tl.constexpr,
):  # fmt: skip
    await_inputs(OVERLAP)
    s, head, split = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    length = tl.load(lens + s)
    low = 0
    if WINDOW > 0:
        low = tl.maximum(0, length - WINDOW)
    chunk = ((length - low + SPLITS - 1) // SPLITS + BN - 1) // BN * BN
    start = low + split * chunk
    stop = tl.minimum(start + chunk, length)
    g = tl.arange(0, GP)
    d = tl.arange(0, BD)
    row = (s * K + head) * G + g
    shown = (g[:, None] < G) & (d[None] < D)
    x = tl.load(q + row[:, None] * D + d[None], mask=shown, other=0.0)
    top = tl.full((GP,), -float("inf"), tl.float32)
    mass = tl.zeros((GP,), tl.float32)
    acc = tl.zeros((GP, BD), tl.float32)
    for begin in range(start, stop, BN):
        j = begin + tl.arange(0, BN)
        there = j < stop
        page = tl.load(table + s * row_stride + j // PAGE * column_stride, mask=there, other=0)
        at = ((page.to(tl.int64) * PAGE + j % PAGE) * K + head) * D
        k = tl.load(keys + at[None] + d[:, None], mask=there[None] & (d[:, None] < D), other=0.0)
        v = tl.load(values + at[:, None] + d[None], mask=there[:, None] & (d[None] < D), other=0.0)
        scores = tl.dot(x, k, input_precision="ieee") * scale
        if CAP:
            half = scores / cap
            scores = cap * (1.0 - 2.0 / (1.0 + tl.exp(2.0 * half)))
        scores = tl.where(there[None], scores * 1.4426950408889634, -float("inf"))
        peak = tl.maximum(top, tl.max(scores, 1))
        p = tl.exp2(scores - peak[:, None])
        old = tl.exp2(top - peak)
        mass = mass * old + tl.sum(p, 1)
        acc = tl.dot(p.to(v.dtype), v, acc * old[:, None], input_precision="ieee")
        top = peak
    whole = tl.where(mass > 0, mass, 1.0)
    to = row * SPLITS + split
    tl.store(
        out + to[:, None] * D + d[None], (acc / whole[:, None]).to(out.dtype.element_ty), mask=shown
    )
    if SPLITS > 1:
        tl.store(logs + to, tl.where(mass > 0, top + tl.log2(whole), -float("inf")), mask=g < G)


@triton.jit
def _combine(parts, logs, out, SPLITS: tl.constexpr, SB: tl.constexpr, D: tl.constexpr,
             BD: tl.constexpr, OVERLAP: tl.constexpr):  # fmt: skip
    await_inputs(OVERLAP)
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, SB)
    d = tl.arange(0, BD)
    log = tl.load(logs + row * SPLITS + i, mask=i < SPLITS, other=-float("inf"))
    top = tl.max(log, 0)
    weight = tl.exp2(log - tl.where(top == -float("inf"), 0.0, top))
    shown = (i[:, None] < SPLITS) & (d[None] < D)
    part = tl.load(parts + (row * SPLITS + i[:, None]) * D + d[None], mask=shown, other=0.0)
    mass = tl.sum(weight, 0)
    mixed = tl.sum(part * weight[:, None], 0) / tl.where(mass > 0, mass, 1.0)
    tl.store(out + row * D + d, mixed.to(out.dtype.element_ty), mask=d < D)


@triton.jit
def _prologue(
    packed, cos, sin, slots, weights, out, keys, values, eps, r, H, K,
    NORM: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    await_inputs(OVERLAP)
    t, h = tl.program_id(0).to(tl.int64), tl.program_id(1)
    d = tl.arange(0, BD)
    inside = d < D
    source = packed + (t * (H + 2 * K) + h) * D
    given = tl.load(source + d, mask=inside, other=0.0)
    if h >= H + K:
        slot = tl.load(slots + t)
        tl.store(values + (slot * K + h - H - K) * D + d, given, mask=inside)
    else:
        pair = tl.where(d < r, d + r, tl.where(d < 2 * r, d - r, d))
        x = given.to(tl.float32)
        y = tl.load(source + pair, mask=inside, other=0.0).to(tl.float32)
        if NORM:
            scale = 1.0 / tl.sqrt(tl.sum(x * x, 0) / D + eps)
            of_x = tl.load(weights + h * D + d, mask=inside, other=0.0)
            of_y = tl.load(weights + h * D + pair, mask=inside, other=0.0)
            x = (x * scale * of_x).to(given.dtype).to(tl.float32)
            y = (y * scale * of_y).to(given.dtype).to(tl.float32)
        c = tl.load(cos + t * 2 * r + d, mask=d < 2 * r, other=1.0)
        s = tl.load(sin + t * 2 * r + d, mask=d < 2 * r, other=0.0)
        turned = (x * c + y * s).to(given.dtype)
        if h < H:
            tl.store(out + (t * H + h) * D + d, turned, mask=inside)
        else:
            slot = tl.load(slots + t)
            tl.store(keys + (slot * K + h - H) * D + d, turned, mask=inside)


def attend(q: Any, pool: Pool, table: Any, lens: Any, scale: float, window: int, cap: float) -> Any:
    """q [S, H, d] → [S, H, d] over the pages table [S, L] (any strides) of sequences of `lens`
    int32 [S] tokens, the query's own among them; zero for a sequence without tokens."""
    q = q.contiguous()
    S, H, D = q.shape
    K = pool.heads
    splits = max(1, min(_MOST_SPLITS, _PROGRAMS // max(1, S * K)))
    out = torch.empty_like(q)
    parts, logs = out, out
    if splits > 1:
        parts = torch.empty((S, H, splits, D), dtype=torch.float32, device=q.device)
        logs = torch.empty((S, H, splits), dtype=torch.float32, device=q.device)
    BD = max(16, triton.next_power_of_2(D))
    _attend[(S, K, splits)](
        q, pool.keys, pool.values, table, lens, parts, logs, scale, cap, *table.stride(), K,
        WINDOW=window, CAP=cap > 0, SPLITS=splits, PAGE=pool.size, G=H // K,
        GP=max(16, triton.next_power_of_2(H // K)), D=D, BD=BD,
        BN=_KEYS if BD * q.element_size() <= 256 else 32, num_warps=_WARPS, num_stages=_STAGES,
        **overlap(q),
    )  # fmt: skip
    if splits > 1:
        SB = triton.next_power_of_2(splits)
        _combine[(S * H,)](parts, logs, out, SPLITS=splits, SB=SB, D=D, BD=BD, num_warps=2,
                              **overlap(q))  # fmt: skip
    return out


def prologue(
    packed: Any, trig: Any, slots: Any, weights: Any, eps: float, H: int, pool: Pool
) -> Any:
    """packed [T, H + 2K, d] → q, turned [T, H, d]; keys and values go to `slots` of the pool.

    weights: float32 [H + K, d] of a norm before the turn, or None.
    """
    cos, sin, r, _ = trig
    T, D = packed.shape[0], pool.d
    out = torch.empty((T, H, D), dtype=packed.dtype, device=packed.device)
    if T:
        _prologue[(T, H + 2 * pool.heads)](
            packed.contiguous(), cos, sin, slots, weights if weights is not None else cos, out,
            pool.keys, pool.values, eps, r, H, pool.heads, NORM=weights is not None, D=D,
            BD=triton.next_power_of_2(D), num_warps=1,
            **overlap(packed),
        )  # fmt: skip
    return out
