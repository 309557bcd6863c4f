"""z = x + y"""

import torch
import triton
import triton.language as tl

from .elements import BLOCK, grid


@triton.jit
def _add(x, y, z, n, B: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    here = at < n
    a = tl.load(x + at, mask=here).to(tl.float32)
    b = tl.load(y + at, mask=here).to(tl.float32)
    tl.store(z + at, (a + b).to(z.dtype.element_ty), mask=here)


def run(x, y):
    z = torch.empty_like(x)
    if z.numel():
        _add[grid(z.numel())](x, y, z, z.numel(), BLOCK)
    return z
