"""Causal attention of one sequence: queries are its last tokens."""

import math

import torch


def attend(q, k, v, scale, window=0, cap=0.0):
    """q [n, H, d], k and v [length, K, d] → mixed [n, H, d] in float32, lse [n, H] in base 2."""
    n, length, K = q.shape[0], k.shape[0], k.shape[1]
    grouped = q.float().unflatten(1, (K, -1)).permute(1, 2, 0, 3)  # [K, G, n, d]
    keys = k.float().permute(1, 2, 0)[:, None]  # [K, 1, d, length]
    scores = torch.matmul(grouped, keys).mul_(scale)
    if cap:
        scores = scores.div_(cap).tanh_().mul_(cap)
    query = torch.arange(length - n, length, device=q.device)[:, None]
    key = torch.arange(length, device=q.device)
    hidden = key > query
    if window:
        hidden |= key <= query - window
    scores.masked_fill_(hidden, -math.inf)
    lse = torch.logsumexp(scores, -1)  # [K, G, n]
    weights = torch.exp(scores - lse.nan_to_num(neginf=0.0)[..., None])
    mixed = torch.matmul(weights, v.float().transpose(0, 1)[:, None])  # [K, G, n, d]
    return mixed.permute(2, 0, 1, 3).flatten(1, 2), lse.permute(2, 0, 1).flatten(1) / math.log(2.0)
