"""One draw a row from filtered probabilities, without sorting

The bits of positive floats order as the floats do, so 31 halvings find the exact value at which a
filter cuts; of tokens that tie there, those with lower ids stay. One program a row.
"""

import torch
import triton
import triton.language as tl


@triton.jit
def _above(probs, V, value, B: tl.constexpr):
    """Count and mass of the tokens whose bits are greater than `value`."""
    count = tl.zeros((B,), tl.int32)
    mass = tl.zeros((B,), tl.float32)
    for begin in range(0, V, B):
        at = begin + tl.arange(0, B)
        p = tl.load(probs + at, mask=at < V, other=0.0)
        more = p.to(tl.int32, bitcast=True) > value
        count += more.to(tl.int32)
        mass += tl.where(more, p, 0.0)
    return tl.sum(count, 0), tl.sum(mass, 0)


@triton.jit
def _draw(
    probs, top_k, top_p, samples, V, seed, TOP_K: tl.constexpr, TOP_P: tl.constexpr,
    B: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0)
    row = probs + b.to(tl.int64) * V
    cut = 0  # bits of the smallest value that stays; of its ties, the first `ties`
    ties = V
    total = 1.0  # mass that the second filter takes a share of
    if TOP_K:
        k = tl.load(top_k + b)
        if (k > 0) & (k < V):
            low = -1  # more than k above, or all
            high = 0x7F800000
            for _ in range(31):
                middle = low + (high - low) // 2
                count, _mass = _above(row, V, middle, B)
                if count < k:
                    high = middle
                else:
                    low = middle
            count, mass = _above(row, V, high, B)
            cut = high
            ties = k - count
            total = mass + ties * high.to(tl.float32, bitcast=True)
    if TOP_P:
        share = tl.load(top_p + b)
        if share < 1.0:
            low = cut - 1  # above it lies more than the share, or the first filter cuts
            high = 0x7F800000
            for _ in range(31):
                middle = low + (high - low) // 2
                _count, mass = _above(row, V, middle, B)
                if (mass <= share * total) & ((share > 0) | (mass <= 0)):
                    high = middle
                else:
                    low = middle
            count, mass = _above(row, V, high, B)
            value = high.to(tl.float32, bitcast=True)
            fit = (share * total - mass) / tl.maximum(value, 1e-38)
            kept = tl.maximum(tl.minimum(fit, V * 1.0).to(tl.int32) + 1, 1)
            if high == cut:
                ties = tl.minimum(ties, kept)
            else:
                ties = tl.where(share > 0, kept, 1)
            cut = high
    mass = 0.0
    seen = 0
    for begin in range(0, V, B):
        at = begin + tl.arange(0, B)
        p = tl.load(row + at, mask=at < V, other=0.0)
        bits = p.to(tl.int32, bitcast=True)
        tie = ((bits == cut) & (at < V)).to(tl.int32)
        stays = (bits > cut) | ((tie > 0) & (seen + tl.cumsum(tie, 0) <= ties))
        mass += tl.sum(tl.where(stays, p, 0.0), 0)
        seen += tl.sum(tie, 0)
    u = tl.rand(seed, b) * mass
    before = 0.0
    seen = 0
    chosen = V
    last = 0
    for begin in range(0, V, B):
        at = begin + tl.arange(0, B)
        p = tl.load(row + at, mask=at < V, other=0.0)
        bits = p.to(tl.int32, bitcast=True)
        tie = ((bits == cut) & (at < V)).to(tl.int32)
        stays = (bits > cut) | ((tie > 0) & (seen + tl.cumsum(tie, 0) <= ties))
        stays = stays & (p > 0)
        p = tl.where(stays, p, 0.0)
        reached = stays & (before + tl.cumsum(p, 0) > u)
        chosen = tl.minimum(chosen, tl.min(tl.where(reached, at, V), 0))
        last = tl.maximum(last, tl.max(tl.where(stays, at, 0), 0))
        before += tl.sum(p, 0)
        seen += tl.sum(tie, 0)
    tl.store(samples + b, tl.where(chosen < V, chosen, last).to(tl.int64))


def _run(probs, top_k, top_p):
    S, V = probs.shape
    samples = torch.empty(S, dtype=torch.int64, device=probs.device)
    seed = int(torch.empty((), dtype=torch.int64).random_(1 << 31))
    if S:
        B = min(4096, triton.next_power_of_2(V))
        _draw[(S,)](
            probs, probs if top_k is None else top_k, probs if top_p is None else top_p, samples,
            V, seed, TOP_K=top_k is not None, TOP_P=top_p is not None, B=B, num_warps=8,
        )  # fmt: skip
    return samples


def run_top_k(probs, top_k):
    return _run(probs, top_k, None)


def run_top_p(probs, top_p):
    return _run(probs, None, top_p)


def run_top_k_top_p(probs, top_k, top_p):
    return _run(probs, top_k, top_p)
