"""y = x * by"""

import torch
import triton
import triton.language as tl

from .constants import BY
from .elements import BLOCK, grid


@triton.jit
def _scale(x, y, n, by, B: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    here = at < n
    a = tl.load(x + at, mask=here).to(tl.float32)
    tl.store(y + at, (a * by).to(y.dtype.element_ty), mask=here)


def run(x):
    y = torch.empty_like(x)
    if y.numel():
        _scale[grid(y.numel())](x, y, y.numel(), BY, BLOCK)
    return y
