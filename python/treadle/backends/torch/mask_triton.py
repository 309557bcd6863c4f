"""Masks applied to logits in Triton: one program a row and block, which only writes.

A logit is never read: minus infinity is stored where the bit is 0, and nothing elsewhere.
"""

# Triton has no annotations, and is not installed where this is checked.
# pyright: basic, reportMissingImports=false, reportIndexIssue=false

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

if TYPE_CHECKING:
    from treadle.backends.torch.mask import Job

_FEW = 8  # rows; below this small blocks spread one row over more processors


@triton.jit
def mask_kernel(
    logits,
    table,
    staging,
    ids,
    index,
    width,
    words,
    logits_stride,
    table_stride,
    staging_stride,
    beyond,
    HAS_IDS: tl.constexpr,
    HAS_INDEX: tl.constexpr,
    HAS_STAGING: tl.constexpr,
    BLOCK: tl.constexpr,
):
    position = tl.program_id(1)
    row = position.to(tl.int64)
    if HAS_INDEX:
        row = tl.load(index + position).to(tl.int64)
    source = table + row * table_stride
    live = True
    if HAS_IDS:
        number = tl.load(ids + position)
        live = number != -1
        source = table + tl.maximum(number, 0).to(tl.int64) * table_stride
        if HAS_STAGING:  # noqa: SIM102 (the compiler's question, then the device's)
            if number == -2:
                source = staging + position.to(tl.int64) * staging_stride
    if live:
        start = tl.program_id(0) * BLOCK
        word = start // 32 + tl.arange(0, BLOCK // 32)
        packed = tl.load(source + word, word < words, other=beyond)
        bit = (packed[:, None] >> tl.arange(0, 32)[None, :]) & 1
        at = start + tl.arange(0, BLOCK)
        illegal = (bit == 0).reshape(BLOCK)
        tl.store(logits + row * logits_stride + at, float("-inf"), illegal & (at < width))


def run(job: Job, block: int | None = None) -> None:
    """Launches one kernel on the current stream. `block`: tokens a program, a multiple of 32."""
    n, width = job.positions, job.logits.shape[1]
    size = block or (1024 if n <= _FEW else 4096)
    staging = job.table if job.staging is None else job.staging
    ids = job.table if job.ids is None else job.ids
    index = job.table if job.index is None else job.index
    mask_kernel[(triton.cdiv(width, size), n)](
        job.logits,
        job.table,
        staging,
        ids,
        index,
        width,
        job.table.shape[1],
        job.logits.stride(0),
        job.table.stride(0),
        staging.stride(0),
        -1 if job.keep_beyond else 0,
        HAS_IDS=job.ids is not None,
        HAS_INDEX=job.index is not None,
        HAS_STAGING=job.staging is not None,
        BLOCK=size,
        num_warps=4 if size <= 1024 else 8,
    )
