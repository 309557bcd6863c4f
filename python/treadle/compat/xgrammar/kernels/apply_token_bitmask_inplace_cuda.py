"""On CUDA, by treadle's CUDA kernel, built on first use where a CUDA compiler is installed."""

from __future__ import annotations

import torch

from treadle.backends.torch.mask_cuda import available
from treadle.compat.xgrammar.kernels._checked import apply

if not available():
    raise ImportError("no CUDA device, or no nvcc and ninja to build the kernel with")


def apply_token_bitmask_inplace_cuda(
    logits: torch.Tensor,
    bitmask: torch.Tensor,
    indices: list[int] | torch.Tensor | None = None,
) -> None:
    """Shapes: logits [n, V] or [V]; bitmask int32 [m, W] or [W]; `indices` rows of both."""
    apply(logits, bitmask, None, indices, "cuda")
