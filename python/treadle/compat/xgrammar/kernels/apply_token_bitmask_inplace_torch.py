"""By torch's own operations, on any device."""

from __future__ import annotations

import torch

from treadle.compat.xgrammar.kernels._checked import apply


def apply_token_bitmask_inplace_torch(
    logits: torch.Tensor,
    bitmask: torch.Tensor,
    vocab_size: int | None = None,
    indices: list[int] | None = None,
) -> None:
    """Shapes: logits [n, V] or [V]; bitmask int32 [m, W] or [W]; `indices` rows of both."""
    apply(logits, bitmask, vocab_size, indices, "torch")


def apply_token_bitmask_inplace_kernel_no_indices_torch(
    logits: torch.Tensor, bitmask: torch.Tensor, vocab_size: int
) -> None:
    """All rows."""
    apply(logits, bitmask, vocab_size, None, "torch")


def apply_token_bitmask_inplace_kernel_indices_torch(
    logits: torch.Tensor, bitmask: torch.Tensor, vocab_size: int, indices: list[int]
) -> None:
    """The rows of `indices`."""
    apply(logits, bitmask, vocab_size, indices, "torch")
