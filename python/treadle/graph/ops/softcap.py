"""softcap: a smooth clip to (-cap, cap) (Gemma 2, arXiv 2408.00118)."""

from __future__ import annotations

from typing import Any

from treadle.graph.op import op, parallel
from treadle.graph.xp import widen

softcap = op(
    "softcap",
    ins={"x": "*n"},
    outs={"y": "*n"},
    attrs={"cap": float},
    roles={"n": parallel},
    flops="3 * n",
)


@softcap.reference
def _(xp: Any, x: Any, *, cap: float) -> Any:
    """x […] -> cap · tanh(x / cap)."""
    return xp.astype(cap * xp.tanh(widen(xp, x) / cap), x.dtype)
