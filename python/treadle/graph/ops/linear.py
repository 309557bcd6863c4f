"""linear: y = x · wᵀ + b with [out, in] weights."""

from __future__ import annotations

from typing import Any

from treadle.graph.op import op, parallel, reduce
from treadle.graph.xp import widen

linear = op(
    "linear",
    ins={"x": "T I", "w": "O I", "b": "O ?"},
    outs={"y": "T O"},
    roles={"T": parallel, "O": parallel, "I": reduce},
    flops="2 * T * I * O",
    blocks=("w",),
)


@linear.reference
def _(xp: Any, x: Any, w: Any, b: Any = None) -> Any:
    """x [T, I], w [O, I], b [O]? -> y [T, O]; sums in float32."""
    y = xp.matmul(widen(xp, x), widen(xp, w).T)  # [T, O]
    if b is not None:
        y = y + widen(xp, b)
    return xp.astype(y, x.dtype)
