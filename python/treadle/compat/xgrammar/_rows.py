"""Buffers that callers give: bitmasks, temperatures."""

from __future__ import annotations

from typing import Any

import torch

from treadle import _core


def view_of(bitmask: Any) -> _core.RowView:
    """A buffer int32 [n, W] or [W] taken apart. Raises RuntimeError for any other.

    Tensors go through numpy, which pins their storage: `resize_` would move the memory that the
    view has, and now raises instead.
    """
    try:
        rows = bitmask.numpy() if isinstance(bitmask, torch.Tensor) else bitmask
        return _core.RowView(rows[None] if getattr(rows, "ndim", 2) == 1 else rows)
    except (TypeError, RuntimeError, BufferError) as error:
        raise RuntimeError(f"bitmask: {error}") from None


def float_row(tensor: torch.Tensor, least: int, name: str) -> torch.Tensor:
    """The tensor, float32 [n] on the CPU with n >= least. Raises RuntimeError otherwise."""
    if tensor.device.type != "cpu" or tensor.dtype != torch.float32 or tensor.dim() != 1:
        raise RuntimeError(f"{name}: expected a float32 tensor of one axis on the CPU")
    if tensor.shape[0] < least:
        raise RuntimeError(f"{name}: {tensor.shape[0]} elements, {least} are needed")
    return tensor


def long_row(tensor: Any, name: str) -> Any:
    """The tensor, int64 [n] on the CPU, as numpy. Raises RuntimeError otherwise."""
    if tensor.device.type != "cpu" or tensor.dtype != torch.int64 or tensor.dim() != 1:
        raise RuntimeError(f"{name}: expected int64 tensors of one axis on the CPU")
    return tensor.contiguous().numpy()
