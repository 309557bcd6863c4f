"""kv_write: the next version of a layer's KV, with the new tokens in their slots."""

from __future__ import annotations

from typing import Any

from treadle.graph.checks import distinct, in_range
from treadle.graph.op import op, parallel, ragged, whole

kv_write = op(
    "kv_write",
    ins={"kv": "P 2 B K d", "k": "T K d", "v": "T K d", "slots": "T i32"},
    outs={"next": "P 2 B K d"},
    roles={"T": ragged, "K": parallel, "d": parallel, "P": whole, "B": whole},
    touched={"kv": "0", "next": "2 * T * K * d"},
    writes={"next": "kv"},
)


@kv_write.reference
def _(xp: Any, kv: Any, k: Any, v: Any, slots: Any) -> Any:
    """kv [P, 2, B, K, d], k and v [T, K, d], slots [T] = page · B + offset -> the same buffer.

    Writes in place and returns `kv`: a version is a claim about order, not a copy. Every token is
    written: a slot outside the pool or named twice raises GraphError, none is skipped.
    """
    pages, _, size = kv.shape[:3]
    in_range(slots, pages * size, "kv_write", "slots", "P * B")
    distinct(slots, "kv_write", "slots")
    page, offset = slots // size, slots % size
    kv[page, 0, offset] = xp.astype(k, kv.dtype)
    kv[page, 1, offset] = xp.astype(v, kv.dtype)
    return kv
