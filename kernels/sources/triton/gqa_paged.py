"""Grouped-query attention over pages: one query a sequence, or several, causal

`…_last` where pages hold more than one token.
"""

from .attend import PAGED, attend


def run_decode(q, k_cache, v_cache, kv_indptr, kv_indices, sm_scale):
    return attend(q, k_cache, v_cache, kv_indptr, sm_scale, layout=PAGED, pages=kv_indices)


def run_decode_last(q, k_cache, v_cache, kv_indptr, kv_indices, kv_last_page_len, sm_scale):
    return attend(
        q, k_cache, v_cache, kv_indptr, sm_scale, layout=PAGED, pages=kv_indices,
        last=kv_last_page_len,
    )  # fmt: skip


def run_prefill(q, k_cache, v_cache, qo_indptr, kv_indptr, kv_indices, sm_scale):
    return attend(
        q, k_cache, v_cache, kv_indptr, sm_scale, layout=PAGED, starts=qo_indptr, pages=kv_indices
    )


def run_prefill_last(
    q, k_cache, v_cache, qo_indptr, kv_indptr, kv_indices, kv_last_page_len, sm_scale
):
    return attend(
        q, k_cache, v_cache, kv_indptr, sm_scale, layout=PAGED, starts=qo_indptr, pages=kv_indices,
        last=kv_last_page_len,
    )  # fmt: skip
