"""Attention's prologue without head norms: q and k rotated, k and v written into their slots"""

import torch
import triton
import triton.language as tl

from .constants import MSCALE
from .turn import blocks, turn


@triton.jit
def _prologue(
    q, k, v, pos, freq, slots, q_out, out, H, K, page, mscale, VB: tl.constexpr,
    d: tl.constexpr, r: tl.constexpr, HB: tl.constexpr, RB: tl.constexpr, REST: tl.constexpr,
):  # fmt: skip
    t = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, RB)
    angle = tl.load(pos + t).to(tl.float32) * tl.load(freq + j, mask=j < r, other=0.0)
    cos, sin = tl.cos(angle) * mscale, tl.sin(angle) * mscale
    slot = tl.load(slots + t).to(tl.int64)
    row = K * d
    at = (slot // page * 2 * page + slot % page) * row
    turn(q + t * H * d, q_out + t * H * d, cos, sin, H, d, r, HB, RB, REST)
    turn(k + t * row, out + at, cos, sin, K, d, r, HB, RB, REST)
    i = tl.arange(0, VB)
    value = tl.load(v + t * row + i, mask=i < row)
    tl.store(out + at + page * row + i, value, mask=i < row)


def run(q, k, v, pos, freq, kv, slots):
    (T, H, d), K = q.shape, k.shape[1]
    q_out, out = torch.empty_like(q), kv.clone()
    if T:
        VB = triton.next_power_of_2(K * d)
        _prologue[(T,)](
            q, k, v, pos, freq, slots, q_out, out, H, K, kv.shape[2], MSCALE, VB,
            **blocks(d, freq.shape[0]),
        )  # fmt: skip
    return q_out, out
