"""y = gate(x wgᵀ) * (x wuᵀ), both products of a tile in one program"""

import torch
import triton
import triton.language as tl

from .constants import SILU
from .gate import gate
from .tiles import product, tiles


@triton.jit
def _gate_up(
    x, wg, wu, y, M, N, K, SILU: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(1).to(tl.int64) * BM + tl.arange(0, BM)
    columns = tl.program_id(0) * BN + tl.arange(0, BN)
    g = product(x, wg, rows, rows < M, columns, N, K, BM, BN, BK)
    u = product(x, wu, rows, rows < M, columns, N, K, BM, BN, BK)
    inside = (rows[:, None] < M) & (columns[None] < N)
    value = (gate(g, SILU) * u).to(y.dtype.element_ty)
    tl.store(y + rows[:, None] * N + columns[None], value, mask=inside)


def run(x, wg, wu):
    (M, K), N = x.shape, wg.shape[0]
    y = torch.empty((M, N), dtype=x.dtype, device=x.device)
    size = tiles(M, N, x.dtype)
    if M:
        grid = (triton.cdiv(N, size["BN"]), triton.cdiv(M, size["BM"]))
        _gate_up[grid](x, wg, wu, y, M, N, K, SILU, **size)
    return y
