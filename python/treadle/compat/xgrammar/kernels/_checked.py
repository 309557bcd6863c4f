"""Arguments as xgrammar's kernels take them, over treadle's masks."""

from __future__ import annotations

from typing import Any

import torch

from treadle.backends.torch.mask import Way, apply_mask
from treadle.errors import InvalidRequest, Unsupported


def apply(
    logits: Any,
    bitmask: Any,
    vocab_size: int | None,
    indices: list[int] | Any | None,
    way: Way,
) -> None:
    """`apply_token_bitmask_inplace` in one way; logits beyond the bitmask stay.

    Raises ValueError for types and axes, RuntimeError for rows and sizes that do not exist.
    """
    if bitmask.dtype != torch.int32:
        raise ValueError(f"the bitmask must be int32, got {bitmask.dtype}")
    if logits.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ValueError(f"logits must be float32, float16 or bfloat16, got {logits.dtype}")
    for name, tensor in (("logits", logits), ("bitmask", bitmask)):
        if tensor.dim() not in (1, 2):
            raise ValueError(f"{name} must have one or two axes, got {tensor.dim()}")
    covered = min(logits.shape[-1], bitmask.shape[-1] * 32)
    width = covered if vocab_size is None else vocab_size
    if not 0 <= width <= covered:
        raise RuntimeError(f"vocab_size is {vocab_size}, logits and bitmask cover {covered}")
    rows, masks = (t.shape[0] if t.dim() == 2 else 1 for t in (logits, bitmask))
    if indices is None and rows != masks:
        raise RuntimeError(f"{rows} rows of logits, {masks} of the bitmask; give indices")
    try:
        apply_mask(logits, bitmask, indices, width=width, keep_beyond=True, way=way)
    except Unsupported as error:
        raise ImportError(str(error)) from error
    except InvalidRequest as error:
        raise RuntimeError(str(error)) from error
