"""glu: act(g) · u, the gate of a feed-forward block (arXiv 2002.05202)."""

from __future__ import annotations

from typing import Any

from treadle.graph.op import op, parallel
from treadle.graph.xp import gate, widen

glu = op(
    "glu",
    ins={"g": "T F", "u": "T F"},
    outs={"y": "T F"},
    attrs={"act": ("silu", "gelu_tanh")},
    roles={"T": parallel, "F": parallel},
    flops="6 * T * F",
)


@glu.reference
def _(xp: Any, g: Any, u: Any, *, act: str) -> Any:
    """g, u [T, F] -> y [T, F]; act is silu or the tanh form of gelu."""
    return xp.astype(gate(xp, widen(xp, g), act) * widen(xp, u), g.dtype)
