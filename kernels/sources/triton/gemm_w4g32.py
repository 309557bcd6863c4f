"""C = A Bᵀ with B in w4g32, unpacked in registers

A row is K/2 bytes of codes, then K/32 float16 scales. Of 128 columns lane t of 4 holds columns
8t … 8t + 7 of each group of 32, column 2j in nibble j, 2j + 1 in nibble j + 4. A sum does not mind
the order of its terms, so columns of A are read in the order of the nibbles.
"""

import torch
import triton
import triton.language as tl


@triton.jit
def _gemm(a, b, scales, c, M, N, K, BM: tl.constexpr, BN: tl.constexpr):
    rows = tl.program_id(1).to(tl.int64) * BM + tl.arange(0, BM)
    columns = tl.program_id(0) * BN + tl.arange(0, BN)
    width = K // 2 + K // 16  # bytes a row
    byte = tl.arange(0, 64)
    lane, group, inner = byte // 16, byte // 4 % 4, byte % 4
    low = group * 32 + lane * 8 + 4 * (inner % 2) + inner // 2  # nibble 2 · inner
    here = rows[:, None] < M
    there = columns[:, None] < N
    acc = tl.zeros((BM, BN), tl.float32)
    for block in range(K // 128):
        codes = tl.load(
            b + columns[:, None].to(tl.int64) * width + block * 64 + byte[None], mask=there, other=0
        ).to(tl.int32)
        scale = tl.load(
            scales
            + columns[:, None].to(tl.int64) * (width // 2)
            + K // 4
            + block * 4
            + group[None],
            mask=there,
            other=0.0,
        ).to(tl.float32)
        at = a + rows[:, None] * K + block * 128 + low[None]
        even = tl.load(at, mask=here, other=0.0)
        odd = tl.load(at + 2, mask=here, other=0.0)
        first = (((codes & 15) - 8).to(tl.float32) * scale).to(a.dtype.element_ty)
        second = (((codes >> 4 & 15) - 8).to(tl.float32) * scale).to(a.dtype.element_ty)
        acc = tl.dot(even, tl.trans(first), acc, input_precision="ieee")
        acc = tl.dot(odd, tl.trans(second), acc, input_precision="ieee")
    inside = here & (columns[None] < N)
    tl.store(c + rows[:, None] * N + columns[None], acc.to(c.dtype.element_ty), mask=inside)


def run(a, b):
    (M, K), N = a.shape, b.shape[0]
    c = torch.empty((M, N), dtype=a.dtype, device=a.device)
    BM = 16 if M <= 16 else 32 if M <= 32 else 64
    BN = 16 if N <= 4096 and M <= 32 else 32 if N <= 16384 else 64
    if M:
        grid = (triton.cdiv(N, BN), triton.cdiv(M, BM))
        _gemm[grid](a, b, b.view(torch.float16), c, M, N, K, BM, BN, num_stages=4)
    return c
