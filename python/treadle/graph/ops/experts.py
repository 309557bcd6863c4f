"""experts: each token through its chosen gated feed-forward blocks, summed by weight."""

from __future__ import annotations

from typing import Any

from treadle.graph.checks import in_range
from treadle.graph.op import op, ragged, reduce, whole
from treadle.graph.xp import gate, widen

experts = op(
    "experts",
    ins={
        "x": "T D",
        "w": "T A f32",
        "i": "T A i32",
        "wg": "E F D",
        "wu": "E F D",
        "wd": "E D F",
    },
    outs={"y": "T D"},
    attrs={"act": ("silu", "gelu_tanh")},
    roles={"T": ragged, "A": whole, "E": whole, "F": reduce, "D": whole},
    flops="6 * T * A * F * D",
    touched={
        "wg": "min(E, T * A) * F * D",
        "wu": "min(E, T * A) * F * D",
        "wd": "min(E, T * A) * F * D",
    },
    blocks=("wg", "wu", "wd"),
)


@experts.reference
def _(xp: Any, x: Any, w: Any, i: Any, wg: Any, wu: Any, wd: Any, *, act: str) -> Any:
    """x [T, D], w and i [T, A], wg and wu [E, F, D], wd [E, D, F] -> y [T, D].

    Loops over the experts in use, in ascending order: that is the order of the sum, so the result
    does not depend on how a router lists them.
    """
    in_range(i, wg.shape[0], "experts", "i", "E")
    wide = widen(xp, x)
    y = xp.zeros(tuple(wide.shape), like=wide)
    for e in xp.unique_values(i).tolist():
        row, column = xp.nonzero(i == e)
        tokens = wide[row]  # [n, D]
        g = xp.matmul(tokens, widen(xp, wg[e]).T)  # [n, F]
        u = xp.matmul(tokens, widen(xp, wu[e]).T)
        part = xp.matmul(gate(xp, g, act) * u, widen(xp, wd[e]).T)  # [n, D]
        y[row] = y[row] + part * xp.astype(w[row, column], wide.dtype)[:, None]
    return xp.astype(y, x.dtype)
