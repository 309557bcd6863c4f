"""Each token through its experts: pairs of token and expert sorted by expert, in tiles of rows.

Programs find their tile by the offsets of experts, so the host never waits for the counts.
"""

import torch
import triton
import triton.language as tl

from .constants import SILU
from .gate import gate
from .tiles import place, product


@triton.jit
def _up(
    x, order, bounds, wg, wu, h, E, F, D, A: tl.constexpr, SILU: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    e, first, end = place(tl.program_id(1), bounds, E, BM)
    if e >= 0:
        m = first + tl.arange(0, BM)
        here = m < end
        rows = tl.load(order + m, mask=here, other=0) // A
        columns = tl.program_id(0) * BN + tl.arange(0, BN)
        at = e.to(tl.int64) * F * D
        g = product(x, wg + at, rows, here, columns, F, D, BM, BN, BK)
        u = product(x, wu + at, rows, here, columns, F, D, BM, BN, BK)
        tl.store(
            h + m[:, None].to(tl.int64) * F + columns[None],
            (gate(g, SILU) * u).to(h.dtype.element_ty),
            mask=here[:, None] & (columns[None] < F),
        )


@triton.jit
def _down(
    h, order, bounds, weights, wd, parts, E, F, D,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    e, first, end = place(tl.program_id(1), bounds, E, BM)
    if e >= 0:
        m = first + tl.arange(0, BM)
        here = m < end
        pairs = tl.load(order + m, mask=here, other=0)
        columns = tl.program_id(0) * BN + tl.arange(0, BN)
        at = e.to(tl.int64) * F * D
        acc = product(h, wd + at, m.to(tl.int64), here, columns, D, F, BM, BN, BK)
        acc = acc * tl.load(weights + pairs, mask=here, other=0.0)[:, None]
        tl.store(
            parts + pairs[:, None] * D + columns[None],
            acc,
            mask=here[:, None] & (columns[None] < D),
        )


def mixture(x, w, i, wg, wu, wd):
    (T, D), (E, F), A = x.shape, wg.shape[:2], i.shape[1]
    if not T:
        return torch.empty_like(x)
    order = torch.argsort(i.flatten(), stable=True)  # int64
    ids = torch.arange(E + 1, dtype=i.dtype, device=i.device)
    bounds = torch.searchsorted(i.flatten()[order], ids, out_int32=True)  # [E + 1]
    h = torch.empty((T * A, F), dtype=x.dtype, device=x.device)
    parts = torch.empty((T * A, D), dtype=torch.float32, device=x.device)
    BM = 16 if T * A <= 16 * E else 64
    size = {"BM": BM, "BN": 32 if BM == 16 else 64, "BK": 64, "num_warps": 4, "num_stages": 3}
    tiles = triton.cdiv(T * A, BM) + min(E, T * A)
    _up[(triton.cdiv(F, size["BN"]), tiles)](x, order, bounds, wg, wu, h, E, F, D, A, SILU, **size)
    _down[(triton.cdiv(D, size["BN"]), tiles)](h, order, bounds, w, wd, parts, E, F, D, **size)
    return parts.view(T, A, D).sum(1).to(x.dtype)
