"""rmsnorm: x over its root mean square, times w (arXiv 1910.07467)."""

from __future__ import annotations

from typing import Any

from treadle.graph.op import op, parallel, reduce
from treadle.graph.xp import widen

rmsnorm = op(
    "rmsnorm",
    ins={"x": "*n D", "w": "D f32"},
    outs={"y": "*n D"},
    attrs={"eps": float},
    roles={"n": parallel, "D": reduce},
    flops="4 * n * D",
)


@rmsnorm.reference
def _(xp: Any, x: Any, w: Any, *, eps: float) -> Any:
    """x […, D], w [D] f32 -> y […, D]; families with "1 + w" add the one when they load."""
    wide = widen(xp, x)
    square = xp.mean(wide * wide, axis=-1, keepdims=True)  # […, 1]
    return xp.astype(wide / xp.sqrt(square + eps) * widen(xp, w), x.dtype)
