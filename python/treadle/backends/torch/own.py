"""Whether this device runs the kernels of our own that are written in Triton."""

from __future__ import annotations

import importlib.util
from typing import Any


def fits(device: Any) -> bool:
    """True on CUDA where Triton is installed."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None
