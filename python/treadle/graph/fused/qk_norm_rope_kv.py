"""qk_norm_rope_kv: the attention prologue: norms of q and k, rotation, KV append."""

from treadle.graph.fusion import fused, part

qk_norm_rope_kv = fused(
    "qk_norm_rope_kv",
    ins="q k v pos freq kv slots q_norm? k_norm?",
    outs="q_turned kv_next",
    parts=[
        part("rmsnorm", "q q_norm", "q_normed", when="q_norm"),
        part("rmsnorm", "k k_norm", "k_normed", when="k_norm"),
        part("rope", "q_normed pos freq", "q_turned"),
        part("rope", "k_normed pos freq", "k_turned"),
        part("kv_write", "kv k_turned v slots", "kv_next"),
    ],
    context=[part("attention", "q_turned kv_next starts lens table", "o")],
)
