"""Programmatic dependent launch for the Triton kernels of a step: a kernel starts while the one
before it still works, reads what is constant, and waits before it touches anything else.

Every kernel launched so waits before it reads a value or writes, hence all before it have ended by
then, whoever launched them. Source: CUDA programming guide, programmatic dependent launch.
"""

# Triton has no annotations, and is not installed where this is checked.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from treadle.backends.torch import own

BEFORE, AFTER = 1, 2
"""When the next kernel may start: at this one's beginning, or when its inputs are there."""


@triton.jit
def await_inputs(OVERLAP: tl.constexpr):
    if OVERLAP == 1:
        tl.extra.cuda.gdc_launch_dependents()
        tl.extra.cuda.gdc_wait()
    elif OVERLAP == 2:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()


def overlap(x: Any) -> dict[str, Any]:
    """Launch options of a kernel that ends its constant reads with `await_inputs`."""
    when = own.overlap(x.device)
    return {"OVERLAP": when, "launch_pdl": True} if when else {"OVERLAP": 0}
