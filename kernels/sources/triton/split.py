"""The columns of x dealt to three outputs"""

import torch
import triton
import triton.language as tl

from .constants import SIZES


@triton.jit
def _split(x, a, b, c, A, B, C, BLOCK: tl.constexpr):
    t = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here = at < A + B + C
    value = tl.load(x + t * (A + B + C) + at, mask=here)
    tl.store(a + t * A + at, value, mask=at < A)
    tl.store(b + t * B + at - A, value, mask=(at >= A) & (at < A + B))
    tl.store(c + t * C + at - A - B, value, mask=(at >= A + B) & here)


def run(x):
    T = x.shape[0]
    parts = tuple(torch.empty((T, n), dtype=x.dtype, device=x.device) for n in SIZES)
    if T:
        _split[(T, triton.cdiv(sum(SIZES), 1024))](x, *parts, *SIZES, 1024)
    return parts
