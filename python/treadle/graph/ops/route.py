"""route: the top A experts of each token and their weights."""

from __future__ import annotations

from typing import Any

from treadle.graph.op import op, parallel, whole
from treadle.graph.xp import sigmoid, softmax, widen

route = op(
    "route",
    ins={"x": "T E"},
    outs={"w": "T A f32", "i": "T A i32"},
    attrs={"renorm": bool, "score": ("softmax", "sigmoid"), "A": "dim"},
    roles={"T": parallel, "E": whole, "A": whole},
    where=("A <= E",),
    flops="8 * T * E",
)


@route.reference
def _(xp: Any, x: Any, *, renorm: bool, score: str, A: int) -> Any:
    """x [T, E] -> w [T, A] f32, i [T, A] i32, best first.

    Ranked by the logits, which both scores keep in order: rounding in the score makes no ties that
    the logits do not have. Equal logits: the lower index wins. renorm: weights of a token sum to 1.
    """
    wide = widen(xp, x)
    chosen = xp.argsort(wide, axis=-1, descending=True)[:, :A]  # [T, A]
    scores = softmax(xp, wide) if score == "softmax" else sigmoid(xp, wide)
    weights = xp.take_along_axis(scores, chosen, axis=-1)
    if renorm:
        weights = weights / xp.sum(weights, axis=-1, keepdims=True)
    return weights, xp.astype(chosen, xp.int32)
