"""Grouped-query attention over pages: one query a sequence, or several, causal

`…_last` where pages hold more than one token. Decoding runs as one padded batch.
"""

import math

import torch

from .attend import attend


def run_decode(q, k_cache, v_cache, kv_indptr, kv_indices, sm_scale):
    return _decode(q, k_cache, v_cache, kv_indptr, kv_indices, None, sm_scale)


def run_decode_last(q, k_cache, v_cache, kv_indptr, kv_indices, kv_last_page_len, sm_scale):
    return _decode(q, k_cache, v_cache, kv_indptr, kv_indices, kv_last_page_len, sm_scale)


def run_prefill(q, k_cache, v_cache, qo_indptr, kv_indptr, kv_indices, sm_scale):
    return _prefill(q, k_cache, v_cache, qo_indptr, kv_indptr, kv_indices, None, sm_scale)


def run_prefill_last(
    q, k_cache, v_cache, qo_indptr, kv_indptr, kv_indices, kv_last_page_len, sm_scale
):
    last = kv_last_page_len
    return _prefill(q, k_cache, v_cache, qo_indptr, kv_indptr, kv_indices, last, sm_scale)


def _decode(q, k_cache, v_cache, indptr, indices, last, scale):
    size, K = k_cache.shape[1:3]
    counts = indptr[1:] - indptr[:-1]  # pages a sequence
    tail = 1 if last is None else last[: counts.shape[0]]
    lengths = torch.where(counts > 0, (counts - 1) * size + tail, 0)
    longest = max(int(counts.max()) if counts.numel() else 0, 1)
    place = torch.arange(longest, device=q.device)
    there = place < counts[:, None]
    if not indices.numel():
        empty = torch.full(q.shape[:2], -math.inf, dtype=torch.float32, device=q.device)
        return torch.zeros_like(q), empty
    at = (indptr[:-1, None] + place).clamp_(max=indices.numel() - 1)
    pages = torch.where(there, indices[at], indices[0]).long()  # [b, longest]
    key = torch.arange(longest * size, device=q.device)
    hidden = (key >= lengths[:, None])[:, None, None]  # [b, 1, 1, L]
    grouped = q.float().unflatten(1, (K, -1))  # [b, K, G, d]
    k = k_cache[pages].flatten(1, 2).permute(0, 2, 3, 1)  # [b, K, d, L]
    scores = torch.matmul(grouped, k.float()).mul_(scale).masked_fill_(hidden, -math.inf)
    lse = torch.logsumexp(scores, -1)  # [b, K, G]
    weights = torch.exp(scores - lse.nan_to_num(neginf=0.0)[..., None])
    v = v_cache[pages].flatten(1, 2).transpose(1, 2).float()  # [b, K, L, d]
    v = v.masked_fill_(hidden.transpose(2, 3), 0.0)  # 0 · NaN is NaN
    out = torch.matmul(weights, v).flatten(1, 2)
    return out.to(q.dtype), lse.flatten(1) / math.log(2.0)


def _prefill(q, k_cache, v_cache, qo_indptr, kv_indptr, indices, last, scale):
    size = k_cache.shape[1]
    output = torch.zeros_like(q)
    lse = torch.full(q.shape[:2], -math.inf, dtype=torch.float32, device=q.device)
    rows, pages = qo_indptr.tolist(), kv_indptr.tolist()
    tails = None if last is None else last.tolist()
    for b in range(len(rows) - 1):
        n = pages[b + 1] - pages[b]
        if n <= 0 or rows[b] == rows[b + 1]:
            continue
        length = (n - 1) * size + (1 if tails is None else tails[b])
        mine = indices[pages[b] : pages[b + 1]]
        k, v = (t.index_select(0, mine).flatten(0, 1)[:length] for t in (k_cache, v_cache))
        span = slice(rows[b], rows[b + 1])
        mixed, lse[span] = attend(q[span], k, v, scale)
        output[span] = mixed
    return output, lse
