"""Grouped-query causal attention over keys that lie one sequence after the other"""

import math

import torch

from .attend import attend


def run(q, k, v, qo_indptr, kv_indptr, sm_scale):
    output = torch.zeros_like(q)
    lse = torch.full(q.shape[:2], -math.inf, dtype=torch.float32, device=q.device)
    rows, keys = qo_indptr.tolist(), kv_indptr.tolist()
    for b in range(len(rows) - 1):
        mine, theirs = slice(rows[b], rows[b + 1]), slice(keys[b], keys[b + 1])
        if rows[b] < rows[b + 1]:
            mixed, lse[mine] = attend(q[mine], k[theirs], v[theirs], sm_scale)
            output[mine] = mixed
    return output, lse
