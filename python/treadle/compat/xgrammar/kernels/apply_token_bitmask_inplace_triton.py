"""On CUDA, by treadle's Triton kernel. Importing it needs triton."""

# Triton has no annotations, and is not installed where this is checked.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import torch

from treadle.backends.torch.mask_triton import mask_kernel as apply_token_bitmask_inplace_kernel
from treadle.compat.xgrammar.kernels._checked import apply

__all__ = ["apply_token_bitmask_inplace_kernel", "apply_token_bitmask_inplace_triton"]


def apply_token_bitmask_inplace_triton(
    logits: torch.Tensor,
    bitmask: torch.Tensor,
    vocab_size: int | None = None,
    indices: list[int] | torch.Tensor | None = None,
) -> None:
    """Shapes: logits [n, V] or [V]; bitmask int32 [m, W] or [W]; `indices` rows of both."""
    apply(logits, bitmask, vocab_size, indices, "triton")
