"""y[i] = x[rows[i]]: `take`, and `embed` of a table"""

import torch
import triton
import triton.language as tl


@triton.jit
def _gather(x, rows, y, D, B: tl.constexpr):
    i = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * B + tl.arange(0, B)
    row = tl.load(rows + i).to(tl.int64)
    tl.store(y + i * D + at, tl.load(x + row * D + at, mask=at < D), mask=at < D)


def run(x, rows):
    D = x.shape[1]
    y = torch.empty((rows.shape[0], D), dtype=x.dtype, device=x.device)
    B = min(triton.next_power_of_2(D), 1024)
    if y.numel():
        _gather[(y.shape[0], triton.cdiv(D, B))](x, rows, y, D, B)
    return y
