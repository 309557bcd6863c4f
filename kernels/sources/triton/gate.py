"""The gate of a gated unit: SiLU, or GELU in its tanh form."""

import triton
import triton.language as tl

from .tanh import tanh


@triton.jit
def gate(x, SILU: tl.constexpr):
    if SILU:
        return x / (1.0 + tl.exp(-x))
    return 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))
