"""q, k, v = x wqᵀ, x wkᵀ, x wvᵀ in one launch"""

import torch
import triton
import triton.language as tl

from .tiles import product, tiles


@triton.jit
def _part(x, w, y, tile, rows, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    columns = tile * BN + tl.arange(0, BN)
    acc = product(x, w, rows, rows < M, columns, N, K, BM, BN, BK)
    inside = (rows[:, None] < M) & (columns[None] < N)
    tl.store(y + rows[:, None] * N + columns[None], acc.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _qkv(x, wq, wk, wv, q, k, v, M, Q, KV, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    tile = tl.program_id(0)
    rows = tl.program_id(1).to(tl.int64) * BM + tl.arange(0, BM)
    queries, keys = tl.cdiv(Q, BN), tl.cdiv(KV, BN)
    if tile < queries:
        _part(x, wq, q, tile, rows, M, Q, K, BM, BN, BK)
    elif tile < queries + keys:
        _part(x, wk, k, tile - queries, rows, M, KV, K, BM, BN, BK)
    else:
        _part(x, wv, v, tile - queries - keys, rows, M, KV, K, BM, BN, BK)


def run(x, wq, wk, wv):
    (M, K), Q, KV = x.shape, wq.shape[0], wk.shape[0]
    q, k, v = (torch.empty((M, n), dtype=x.dtype, device=x.device) for n in (Q, KV, KV))
    size = tiles(M, Q + 2 * KV, x.dtype)
    if size["BM"] > 64:  # each of the three branches has buffers of its own
        size["num_stages"] = 2
    if M:
        count = triton.cdiv(Q, size["BN"]) + 2 * triton.cdiv(KV, size["BN"])
        _qkv[(count, triton.cdiv(M, size["BM"]))](x, wq, wk, wv, q, k, v, M, Q, KV, K, **size)
    return q, k, v
