"""add: elementwise sum."""

from __future__ import annotations

from typing import Any

from treadle.graph.op import op, parallel
from treadle.graph.xp import widen

add = op(
    "add",
    ins={"x": "*n", "y": "*n"},
    outs={"z": "*n"},
    roles={"n": parallel},
    flops="n",
    additive=("x", "y"),
    commutes=True,
)


@add.reference
def _(xp: Any, x: Any, y: Any) -> Any:
    """x, y […] -> z […]."""
    return xp.astype(widen(xp, x) + widen(xp, y), x.dtype)
