"""qkv: the three projections of attention as one, weights concatenated at load.

Three linears of one input look alike, so the context says which is which: what becomes the query
of an attention, and what a kv_write takes as key and as value.
"""

from treadle.graph.fusion import fused, part

qkv = fused(
    "qkv",
    ins="x wq wk wv bq? bk? bv?",
    outs="q k v",
    parts=[
        part("linear", "x wq bq", "q"),
        part("linear", "x wk bk", "k"),
        part("linear", "x wv bv", "v"),
    ],
    context=[
        part("view", "q", "q_heads"),
        part("view", "k", "k_heads"),
        part("view", "v", "v_heads"),
        part("rmsnorm", "q_heads q_norm", "q_normed", when="q_norm"),
        part("rmsnorm", "k_heads k_norm", "k_normed", when="k_norm"),
        part("rope", "q_normed pos freq", "q_turned", when="freq"),
        part("rope", "k_normed pos freq", "k_turned", when="freq"),
        part("kv_write", "kv k_turned v_heads slots", "kv_next"),
        part("attention", "q_turned kv_next starts lens table", "o"),
    ],
)
