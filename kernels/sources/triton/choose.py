"""Routing: the best experts of every token; of equal scores the lower expert comes first."""

import torch
import triton
import triton.language as tl

from .constants import CHOSEN, RENORM, SOFTMAX


@triton.jit
def _choose(
    x, w, i, E, A: tl.constexpr, SOFTMAX: tl.constexpr, RENORM: tl.constexpr, B: tl.constexpr
):
    t = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, B)
    logits = tl.load(x + t * E + at, mask=at < E, other=-float("inf")).to(tl.float32)
    if SOFTMAX:
        scores = tl.exp(logits - tl.max(logits, 0))
        scores = scores / tl.sum(scores, 0)
    else:
        scores = 1.0 / (1.0 + tl.exp(-logits))
    left = at < E
    kept = 0.0
    for a in range(A):
        top = tl.max(tl.where(left, logits, -float("inf")), 0)
        best = tl.min(tl.where(left & (logits == top), at, B), 0)
        weight = tl.sum(tl.where(at == best, scores, 0.0), 0)
        kept += weight
        left = left & (at != best)
        tl.store(i + t * A + a, best)
        tl.store(w + t * A + a, weight)
    if RENORM:
        for a in range(A):
            tl.store(w + t * A + a, tl.load(w + t * A + a) / kept)


def choose(x):
    T, E = x.shape
    w = torch.empty((T, CHOSEN), dtype=torch.float32, device=x.device)
    i = torch.empty((T, CHOSEN), dtype=torch.int32, device=x.device)
    if T:
        B = triton.next_power_of_2(E)
        _choose[(T,)](x, w, i, E, CHOSEN, SOFTMAX, RENORM, B, num_warps=1)
    return w, i
