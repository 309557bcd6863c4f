"""On the CPU, by treadle's C++."""

from __future__ import annotations

import torch

from treadle.compat.xgrammar.kernels._checked import apply


def apply_token_bitmask_inplace_cpu(
    logits: torch.Tensor,
    bitmask: torch.Tensor,
    vocab_size: int | None = None,
    indices: list[int] | torch.Tensor | None = None,
) -> None:
    """Shapes: logits [n, V] or [V]; bitmask int32 [m, W] or [W]; `indices` rows of both."""
    for name, tensor in (("logits", logits), ("bitmask", bitmask)):
        if tensor.device.type != "cpu":
            raise ValueError(f"{name} must be on the CPU, got {tensor.device}")
    if isinstance(indices, torch.Tensor):
        indices = [int(row) for row in indices]
    apply(logits, bitmask, vocab_size, indices, "native")
