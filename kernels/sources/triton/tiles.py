"""Tiles of a product, and tiles of ragged groups that every program finds for itself."""

import torch
import triton
import triton.language as tl


def tiles(M, N, dtype):
    """Block sizes for M rows and N columns: few rows need many programs more than large tiles."""
    wide = dtype is torch.float32
    if M <= 32:
        BN = 16 if N <= 4096 else 32 if N <= 16384 else 64
        BK = 64 if wide else 128 if BN > 16 else 256
        return {"BM": 16 if M <= 16 else 32, "BN": BN, "BK": BK, "num_warps": 4, "num_stages": 4}
    BM = 64 if M <= 64 else 128
    BK = 32 if wide else 64
    return {"BM": BM, "BN": 128, "BK": BK, "num_warps": 8 if BM == 128 else 4, "num_stages": 3}


@triton.jit
def product(x, w, rows, here, columns, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """Sum over K of x[rows] and w[columns]: [BM, BN] in float32."""
    acc = tl.zeros((BM, BN), tl.float32)
    for begin in range(0, K, BK):
        at = begin + tl.arange(0, BK)
        inside = at < K
        a = tl.load(x + rows[:, None] * K + at[None], mask=here[:, None] & inside[None], other=0.0)
        b = tl.load(
            w + columns[None].to(tl.int64) * K + at[:, None],
            mask=(columns[None] < N) & inside[:, None],
            other=0.0,
        )
        acc = tl.dot(a, b, acc, input_precision="ieee")
    return acc


@triton.jit
def place(tile, bounds, count, SIZE: tl.constexpr):
    """Group, first and end of a tile, where group g holds [bounds[g], bounds[g + 1]) in tiles of
    SIZE; group -1 where there are fewer tiles."""
    group = -1
    first = 0
    end = 0
    used = 0
    for g in range(count):
        a = tl.load(bounds + g)
        b = tl.load(bounds + g + 1)
        n = (b - a + SIZE - 1) // SIZE
        mine = (tile >= used) & (tile < used + n)
        group = tl.where(mine, g, group)
        first = tl.where(mine, a + (tile - used) * SIZE, first)
        end = tl.where(mine, b, end)
        used += n
    return group, first, end
