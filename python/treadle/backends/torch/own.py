"""Whether this device runs the kernels of our own that are written in Triton."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import torch


def fits(device: Any) -> bool:
    """True on CUDA where Triton is installed."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None


@functools.cache
def overlap(device: Any) -> int:
    """When a kernel lets the next one start (`overlap_triton`); 0 where the device cannot."""
    return 1 if fits(device) and torch.cuda.get_device_capability(device) >= (9, 0) else 0
