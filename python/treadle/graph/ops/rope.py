"""rope: rotary position embedding, half-split pairing (arXiv 2104.09864)."""

from __future__ import annotations

from typing import Any

from treadle.graph.op import op, parallel, whole
from treadle.graph.xp import widen

rope = op(
    "rope",
    ins={"x": "T H d", "pos": "T i32", "inv_freq": "r f32"},
    outs={"y": "T H d"},
    attrs={"mscale": (float, 1.0)},
    roles={"T": parallel, "H": parallel, "d": whole, "r": whole},
    where=("2 * r <= d",),
    flops="6 * T * H * r",
)


@rope.reference
def _(xp: Any, x: Any, pos: Any, inv_freq: Any, *, mscale: float) -> Any:
    """x [T, H, d], pos [T], inv_freq [r] -> y [T, H, d].

    Element j < r turns with element j + r; elements from 2r on pass through. Every scaling scheme
    is a table of inv_freq; mscale multiplies the rotated part.
    """
    r = inv_freq.shape[0]
    wide = widen(xp, x)
    angle = xp.astype(pos, inv_freq.dtype)[:, None] * inv_freq[None, :]  # [T, r]
    cos = (xp.cos(angle) * mscale)[:, None, :]  # [T, 1, r]
    sin = (xp.sin(angle) * mscale)[:, None, :]
    first, second = wide[..., :r], wide[..., r : 2 * r]  # [T, H, r]
    parts = (first * cos - second * sin, second * cos + first * sin, wide[..., 2 * r :])
    return xp.astype(xp.concat(parts, axis=-1), x.dtype)
