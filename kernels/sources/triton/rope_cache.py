"""Rotary embedding of q and k with cosines and sines from a table [positions, 2r]"""

import torch
import triton
import triton.language as tl

from .turn import blocks, turn


@triton.jit
def _rope(
    q, k, cache, positions, q_out, k_out, H, K, d: tl.constexpr, r: tl.constexpr, HB: tl.constexpr,
    RB: tl.constexpr, REST: tl.constexpr,
):  # fmt: skip
    t = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, RB)
    row = cache + tl.load(positions + t) * 2 * r + j
    cos = tl.load(row, mask=j < r, other=0.0)
    sin = tl.load(row + r, mask=j < r, other=0.0)
    turn(q + t * H * d, q_out + t * H * d, cos, sin, H, d, r, HB, RB, REST)
    turn(k + t * K * d, k_out + t * K * d, cos, sin, K, d, r, HB, RB, REST)


def run(q, k, cache, positions):
    T, H, d = q.shape
    q_out, k_out = torch.empty_like(q), torch.empty_like(k)
    if T:
        size = blocks(d, cache.shape[1] // 2)
        _rope[(T,)](q, k, cache, positions, q_out, k_out, H, k.shape[1], **size, num_warps=2)
    return q_out, k_out
