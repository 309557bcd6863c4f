"""The same elements under the output's own shape: `view`, and `allreduce` of a group of one."""

import torch
import triton
import triton.language as tl

from .constants import SHAPE
from .elements import BLOCK, grid


@triton.jit
def _copy(x, y, n, B: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    tl.store(y + at, tl.load(x + at, mask=at < n), mask=at < n)


def run(x):
    y = torch.empty_like(x)
    if y.numel():
        _copy[grid(y.numel())](x, y, y.numel(), BLOCK)
    return y.view(x.shape[0], *SHAPE[1:])
