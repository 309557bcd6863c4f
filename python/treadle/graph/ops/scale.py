"""scale: times a constant."""

from __future__ import annotations

from typing import Any

from treadle.graph.op import op, parallel
from treadle.graph.xp import widen

scale = op(
    "scale",
    ins={"x": "*n"},
    outs={"y": "*n"},
    attrs={"by": float},
    roles={"n": parallel},
    flops="n",
    additive=("x",),
)


@scale.reference
def _(xp: Any, x: Any, *, by: float) -> Any:
    """x […] -> x · by."""
    return xp.astype(widen(xp, x) * by, x.dtype)
