"""Buffers that callers give: bitmasks, temperatures."""

from __future__ import annotations

from typing import Any

import torch

from treadle import _core


def view_of(bitmask: Any) -> tuple[_core.RowView, int]:
    """A buffer int32 [n, W] or [W] taken apart, and its address; 0 where it cannot move.

    The memory of a tensor moves under torch's set_ and resize_, that of numpy's arrays does not
    while somebody holds them. Raises RuntimeError for any other buffer.
    """
    rows = bitmask[None] if getattr(bitmask, "ndim", 2) == 1 else bitmask
    try:
        view = _core.RowView(rows)
    except (TypeError, RuntimeError, BufferError) as error:
        raise RuntimeError(f"bitmask: {error}") from None
    return view, bitmask.data_ptr() if isinstance(bitmask, torch.Tensor) else 0


def float_row(tensor: torch.Tensor, least: int, name: str) -> torch.Tensor:
    """The tensor, float32 [n] on the CPU with n >= least. Raises RuntimeError otherwise."""
    if tensor.device.type != "cpu" or tensor.dtype != torch.float32 or tensor.dim() != 1:
        raise RuntimeError(f"{name}: expected a float32 tensor of one axis on the CPU")
    if tensor.shape[0] < least:
        raise RuntimeError(f"{name}: {tensor.shape[0]} elements, {least} are needed")
    return tensor
