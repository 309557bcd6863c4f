"""The gate of a gated unit: SiLU, or GELU in its tanh form."""

from torch.nn import functional

from .constants import SILU


def gate(x):
    return functional.silu(x) if SILU else functional.gelu(x, approximate="tanh")
