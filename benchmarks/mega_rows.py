"""A product of few rows with a matrix, tuned by shape: the peer's linears at more than one row.

What a kernel-per-operator decoder would use for 2 to 16 sequences beside cuBLAS: each program
streams BN rows of the weight once, all rows of the input beside it. `tune` measures the
configurations against cuBLAS over all layers' weights, so that none is in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

CONFIGS = [
    (bn, bk, warps, stages)
    for bn, warps in ((16, 4), (32, 4), (64, 4))
    for bk, stages in ((128, 4), (256, 3), (256, 5), (512, 3))
    if (bn + 16) * bk * 2 * stages <= 200_000
]
"""Rows of the weight, columns at once, warps, stages."""
# ruff: noqa: N803 - names of the kernel's sizes


@triton.jit
def k_rows(x, w, y, M, N, K, BN: tl.constexpr, BK: tl.constexpr):
    """y[M, N] = x[M, K] w[N, K]^T, M at most 16; K a multiple of BK."""
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    m = tl.arange(0, 16)
    k = tl.arange(0, BK)
    acc = tl.zeros([BN, 16], tl.float32)
    weights = w + n.to(tl.int64)[:, None] * K + k[None, :]
    rows = x + m[None, :] * K + k[:, None]
    for i in range(0, K, BK):
        a = tl.load(weights + i, mask=(n < N)[:, None], other=0.0)
        b = tl.load(rows + i, mask=(m < M)[None, :], other=0.0)
        acc = tl.dot(a, b, acc)
    at = y + m[None, :] * N + n[:, None]
    tl.store(at, acc.to(y.dtype.element_ty), mask=(n < N)[:, None] & (m < M)[None, :])


def product(x: torch.Tensor, w: torch.Tensor, config: tuple[int, ...]) -> torch.Tensor:
    """x [M, K] times w [N, K], transposed."""
    (n, k), (bn, bk, warps, stages) = w.shape, config
    y = torch.empty(len(x), n, device=x.device, dtype=x.dtype)
    k_rows[(-(-n // bn),)](x, w, y, len(x), n, k, BN=bn, BK=bk, num_warps=warps, num_stages=stages)
    return y


def tune(model: Any, rows: int, bench: Callable[[Callable[[], None]], float]) -> dict[str, Any]:
    """Gives a model of the baseline the fastest product a shape, `model.lin`. bench(calls):
    seconds of a captured round. Returns what won, by shape."""
    shapes: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for layer in model.layers:
        for name in ("wqkv", "wo", "wgu", "wd"):
            shapes.setdefault(tuple(layer[name].shape), []).append(layer[name])
    shapes.setdefault(tuple(model.lm_head.shape), []).append(model.lm_head)
    chosen: dict[tuple[int, ...], tuple[int, ...]] = {}
    found: dict[str, Any] = {}
    for shape, weights in shapes.items():
        x = torch.randn(rows, shape[1], device=weights[0].device, dtype=weights[0].dtype)
        wanted = F.linear(x, weights[0]).float()

        def cublas(x: torch.Tensor = x, weights: list[torch.Tensor] = weights) -> None:
            for w in weights:
                F.linear(x, w)

        best = cublas_time = bench(cublas)
        for config in CONFIGS:
            if shape[1] % config[1]:
                continue
            try:
                error = torch.linalg.norm(product(x, weights[0], config).float() - wanted)
            except Exception as failure:  # what does not compile is no candidate
                print(f"{shape} {config}: {str(failure)[:200]}", flush=True)
                continue
            if error > 1e-2 * torch.linalg.norm(wanted):
                raise SystemExit(f"{shape} {config} is wrong by {error}")

            def ours(
                x: torch.Tensor = x, weights: list[torch.Tensor] = weights,
                config: tuple[int, ...] = config,
            ) -> None:  # fmt: skip
                for w in weights:
                    product(x, w, config)

            if (seconds := bench(ours)) < best:
                best, chosen[shape] = seconds, config
        size = weights[0].nbytes * len(weights) / 1e9
        found[str(shape)] = {
            "cublas_gbs": round(size / cublas_time), "best_gbs": round(size / best),
            "config": chosen.get(shape),
        }  # fmt: skip

    def lin(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        config = chosen.get(tuple(w.shape)) if len(x) == rows else None
        return F.linear(x, w) if config is None else product(x, w, config)

    model.tuned_lin = lin
    return found
