"""Attention with an online softmax over pages or runs of keys, for all three layouts.

A program takes a tile of (token, query head) rows that share one key head. Where few rows meet long
sequences, keys are split between programs and a second kernel combines their parts.
"""

import torch
import triton
import triton.language as tl

from .tanh import tanh
from .tiles import place

RAGGED, PAGED, TABLE = 0, 1, 2


@triton.jit
def _attend(
    q, k, v, out, lse, starts, bounds, pages, last, scale,
    S, T, H, K, L, page_stride, slot_stride, head_stride,
    LAYOUT: tl.constexpr, ONE: tl.constexpr, LAST: tl.constexpr, PAGE: tl.constexpr,
    WINDOW: tl.constexpr, CAP: tl.constexpr, SPLITS: tl.constexpr, G: tl.constexpr,
    D: tl.constexpr, BD: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    tile, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    if ONE:
        s, first, end = tile, tile, tile + 1
    else:
        s, first, end = place(tile, starts, S, BM // G)
    if s >= 0:
        if LAYOUT == 2:
            base = s * L
            length = tl.load(bounds + s)
        else:
            base = tl.load(bounds + s)
            length = tl.load(bounds + s + 1) - base
            if LAST:
                length = tl.where(length > 0, (length - 1) * PAGE + tl.load(last + s), 0)
        m = tl.arange(0, BM)
        token = first + m // G
        here = (token < end) & (m < BM // G * G)
        position = length - (end - token)  # of the row's query
        row = token.to(tl.int64) * H + head * G + m % G
        d = tl.arange(0, BD)
        x = tl.load(q + row[:, None] * D + d[None], mask=here[:, None] & (d[None] < D), other=0.0)
        top = tl.full((BM,), -float("inf"), tl.float32)
        mass = tl.zeros((BM,), tl.float32)
        acc = tl.zeros((BM, BD), tl.float32)
        stop = tl.minimum(length, length - end + tl.minimum(end, first + BM // G))
        start = 0
        if WINDOW > 0:
            start = tl.maximum(0, length - end + first - WINDOW + 1) // BN * BN
        if SPLITS > 1:
            chunk = ((stop - start + SPLITS - 1) // SPLITS + BN - 1) // BN * BN
            start = start + split * chunk
            stop = tl.minimum(stop, start + chunk)
        for begin in range(start, stop, BN):
            j = begin + tl.arange(0, BN)
            there = j < stop
            if LAYOUT == 0:
                at = (base + j).to(tl.int64) * slot_stride
            else:
                page = tl.load(pages + base + j // PAGE, mask=there, other=0).to(tl.int64)
                at = page * page_stride + j % PAGE * slot_stride
            at += head * head_stride
            keys = tl.load(
                k + at[None] + d[:, None], mask=there[None] & (d[:, None] < D), other=0.0
            )
            scores = tl.dot(x, keys, input_precision="ieee") * scale
            if CAP > 0:
                scores = CAP * tanh(scores / CAP)
            seen = there[None] & (j[None] <= position[:, None])
            if WINDOW > 0:
                seen = seen & (j[None] > position[:, None] - WINDOW)
            scores = tl.where(seen, scores * 1.4426950408889634, -float("inf"))
            peak = tl.maximum(top, tl.max(scores, 1))
            safe = tl.where(peak == -float("inf"), 0.0, peak)
            p = tl.exp2(scores - safe[:, None])
            old = tl.exp2(top - safe)
            mass = mass * old + tl.sum(p, 1)
            values = tl.load(
                v + at[:, None] + d[None], mask=there[:, None] & (d[None] < D), other=0.0
            )
            acc = acc * old[:, None]
            acc = tl.dot(p.to(values.dtype), values, acc, input_precision="ieee")
            top = peak
        whole = tl.where(mass > 0, mass, 1.0)
        acc = acc / whole[:, None]
        log = tl.where(mass > 0, top + tl.log2(whole), -float("inf"))
        to = split.to(tl.int64) * T * H + row
        tl.store(
            out + to[:, None] * D + d[None], acc.to(out.dtype.element_ty),
            mask=here[:, None] & (d[None] < D),
        )  # fmt: skip
        tl.store(lse + to, log, mask=here)


@triton.jit
def _combine(parts, logs, out, lse, rows, D: tl.constexpr, BD: tl.constexpr, SPLITS: tl.constexpr,
             SB: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    s = tl.arange(0, SB)
    d = tl.arange(0, BD)
    log = tl.load(logs + s.to(tl.int64) * rows + row, mask=s < SPLITS, other=-float("inf"))
    top = tl.max(log, 0)
    safe = tl.where(top == -float("inf"), 0.0, top)
    weight = tl.exp2(log - safe)
    mass = tl.sum(weight, 0)
    part = tl.load(
        parts + (s.to(tl.int64)[:, None] * rows + row) * D + d[None],
        mask=(s[:, None] < SPLITS) & (d[None] < D),
        other=0.0,
    )
    mixed = tl.sum(part * weight[:, None], 0) / tl.where(mass > 0, mass, 1.0)
    tl.store(out + row * D + d, mixed.to(out.dtype.element_ty), mask=d < D)
    tl.store(lse + row, tl.where(mass > 0, top + tl.log2(tl.where(mass > 0, mass, 1.0)), top))


def attend(q, k, v, bounds, scale, *, layout, starts=None, pages=None, last=None, window=0,
           cap=0.0):  # fmt: skip
    """q [T, H, d] → mixed [T, H, d], lse [T, H] in base 2; zero and -inf where nothing is seen.

    k, v: [pages, page, K, d], or [tokens, K, d] where ragged, any strides. bounds: offsets of
    sequences [S + 1], or their lengths [S] with a table. starts: offsets of queries; without it
    every sequence has one.
    """
    T, H, D = q.shape
    K = k.shape[-2]
    G, one = H // K, starts is None
    S = T if one else starts.shape[0] - 1
    out = torch.zeros_like(q)
    lse = torch.full((T, H), -float("inf"), dtype=torch.float32, device=q.device)
    if not T or not k.numel() or (pages is not None and not pages.numel()):
        return out, lse
    page = 1 if layout == RAGGED else k.shape[1]
    rows = G if one else max(64, G)
    BM = max(16, triton.next_power_of_2(rows))
    tiles = T if one else triton.cdiv(T, BM // G) + S
    splits = 1
    if one and pages is not None:  # from shapes alone: the host does not wait for lengths
        mean = pages.numel() * page // T
        splits = max(1, min(triton.cdiv(mean, 256), 528 // max(1, T * K), 32))
    strides = (0, *k.stride()[:2]) if layout == RAGGED else k.stride()[:3]
    target, logs = out, lse
    if splits > 1:
        target = torch.empty((splits, T, H, D), dtype=torch.float32, device=q.device)
        logs = torch.empty((splits, T, H), dtype=torch.float32, device=q.device)
    BD = max(16, triton.next_power_of_2(D))
    none = bounds
    _attend[(tiles, K, splits)](
        q, k, v, target, logs, none if one else starts, bounds, none if pages is None else pages,
        none if last is None else last, scale, S, T, H, K,
        pages.shape[-1] if layout == TABLE else 0, *strides, LAYOUT=layout, ONE=one,
        LAST=last is not None, PAGE=page, WINDOW=window, CAP=cap, SPLITS=splits, G=G, D=D, BD=BD,
        BM=BM, BN=64 if BD <= 128 else 32, num_warps=4, num_stages=3 if BD <= 64 else 2,
    )  # fmt: skip
    if splits > 1:
        SB = triton.next_power_of_2(splits)
        _combine[(T * H,)](target, logs, out, lse, T * H, D, BD, splits, SB, num_warps=2)
    return out, lse
