"""Rotary embedding at given positions"""

import torch
import triton
import triton.language as tl

from .constants import MSCALE
from .turn import blocks, turn


@triton.jit
def _rope(
    x, pos, freq, y, H, mscale, d: tl.constexpr, r: tl.constexpr, HB: tl.constexpr,
    RB: tl.constexpr, REST: tl.constexpr,
):  # fmt: skip
    t = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, RB)
    angle = tl.load(pos + t).to(tl.float32) * tl.load(freq + j, mask=j < r, other=0.0)
    cos, sin = tl.cos(angle) * mscale, tl.sin(angle) * mscale
    turn(x + t * H * d, y + t * H * d, cos, sin, H, d, r, HB, RB, REST)


def run(x, pos, freq):
    T, H, d = x.shape
    y = torch.empty_like(x)
    if T:
        _rope[(T,)](x, pos, freq, y, H, MSCALE, **blocks(d, freq.shape[0]), num_warps=2)
    return y
