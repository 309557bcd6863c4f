"""y = norm(x) wᵀ over all rows (`run`), or over the rows asked for (`run_take`)

One pass over K sums squares beside products; the root divides the finished sum.
"""

import torch
import triton
import triton.language as tl

from .constants import EPS
from .tiles import tiles


@triton.jit
def _norm_linear(
    x, rows, norm, w, y, M, N, K, eps,
    TAKE: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    m = tl.program_id(1).to(tl.int64) * BM + tl.arange(0, BM)
    columns = tl.program_id(0) * BN + tl.arange(0, BN)
    here = m < M
    if TAKE:
        source = tl.load(rows + m, mask=here, other=0).to(tl.int64)
    else:
        source = m
    acc = tl.zeros((BM, BN), tl.float32)
    squares = tl.zeros((BM,), tl.float32)
    for begin in range(0, K, BK):
        at = begin + tl.arange(0, BK)
        inside = at < K
        a = tl.load(
            x + source[:, None] * K + at[None], mask=here[:, None] & inside[None], other=0.0
        )
        a = a.to(tl.float32)
        squares += tl.sum(a * a, 1)
        a = (a * tl.load(norm + at, mask=inside, other=0.0)[None]).to(w.dtype.element_ty)
        b = tl.load(
            w + columns[None].to(tl.int64) * K + at[:, None],
            mask=(columns[None] < N) & inside[:, None],
            other=0.0,
        )
        acc = tl.dot(a, b, acc, input_precision="ieee")
    acc = acc / tl.sqrt(squares / K + eps)[:, None]
    tl.store(
        y + m[:, None] * N + columns[None],
        acc.to(y.dtype.element_ty),
        mask=here[:, None] & (columns[None] < N),
    )


def _run(x, rows, norm, w):
    M, K, N = (x if rows is None else rows).shape[0], x.shape[1], w.shape[0]
    y = torch.empty((M, N), dtype=x.dtype, device=x.device)
    size = tiles(M, N, x.dtype)
    if M:
        grid = (triton.cdiv(N, size["BN"]), triton.cdiv(M, size["BM"]))
        given = x if rows is None else rows
        _norm_linear[grid](x, given, norm, w, y, M, N, K, EPS, TAKE=rows is not None, **size)
    return y


def run(x, norm, w):
    return _run(x, None, norm, w)


def run_take(x, rows, norm, w):
    return _run(x, rows, norm, w)
