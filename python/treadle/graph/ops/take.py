"""take: the rows whose logits are wanted, so that only they reach the head."""

from __future__ import annotations

from typing import Any

from treadle.graph.checks import in_range
from treadle.graph.op import op, parallel, whole

take = op(
    "take",
    ins={"x": "T D", "rows": "R i32"},
    outs={"y": "R D"},
    roles={"R": parallel, "D": parallel, "T": whole},
    touched={"x": "R * D"},
    additive=("x",),
)


@take.reference
def _(xp: Any, x: Any, rows: Any) -> Any:
    """x [T, D], rows [R] -> y [R, D]. Raises GraphError for a row outside [0, T)."""
    in_range(rows, x.shape[0], "take", "rows", "T")
    return xp.take(x, rows, axis=0)
