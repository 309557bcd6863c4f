"""Grouped-query causal attention over keys that lie one sequence after the other"""

from .attend import RAGGED, attend


def run(q, k, v, qo_indptr, kv_indptr, sm_scale):
    return attend(q, k, v, kv_indptr, sm_scale, layout=RAGGED, starts=qo_indptr)
