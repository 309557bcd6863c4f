"""Philox4x32-10, the counter-based generator behind every draw, on numpy or torch integers.

Source: J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). A word depends
on key and counter alone, so noise can be computed for any token in any order, on any device.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_MULTIPLIER = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
ROUNDS = 10

# Bounds of `gumbel`, rounded outwards: no noise lies above MAX or below MIN.
GUMBEL_MAX = -math.log(2.0**-33) + 1e-3
GUMBEL_MIN = -math.log(24 * math.log(2.0)) - 1e-3


def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> tuple[Any, Any, Any, Any]:
    """The four output words of counter (c0 … c3) under key (k0, k1).

    Operands hold 32-bit words and broadcast together: int64 arrays of numpy or torch, or Python
    integers. The 64-bit products wrap as int64, whose bits are those of the unsigned product, so
    one text serves torch too, which has no unsigned arithmetic.
    """
    for _ in range(ROUNDS):
        high0, high1 = c0 * _MULTIPLIER[0], c2 * _MULTIPLIER[1]
        low0, low1 = high0 & _LOW, high1 & _LOW
        # In place: these arrays are the round's own, and allocation would cost more than the work.
        high0 >>= 32
        high0 &= _LOW
        high0 ^= c3
        high0 ^= k1
        high1 >>= 32
        high1 &= _LOW
        high1 ^= c1
        high1 ^= k0
        c0, c1, c2, c3 = high1, low1, high0, low0
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return c0, c1, c2, c3


def words(xp: Any, ids: Any, key: Any, step: Any) -> Any:
    """One random 32-bit word (as int64) for each token id.

    Counter = (step, id // 4, 0, 0), word id % 4. `ids` int64 [..., C] in any order; `key` (the
    bits of a uint64 as int64) and `step` int64 [..., 1] broadcast against it.
    """
    zero = ids * 0 + key * 0
    w = philox(zero + step, zero + (ids >> 2), zero, zero, key & _LOW, (key >> 32) & _LOW)
    odd, second = (ids & 1) > 0, (ids & 2) > 0
    return xp.where(second, xp.where(odd, w[3], w[2]), xp.where(odd, w[1], w[0]))


def all_words(xp: Any, vocab: int, key: Any, step: Any) -> Any:
    """`words` of ids 0 … vocab-1, with one block of Philox for every four of them.

    `key`, `step` int64 [..., 1] → int64 [..., vocab].
    """
    place = {} if isinstance(key, np.ndarray) else {"device": key.device}
    block = xp.arange((vocab + 3) // 4, **place) + key * 0
    zero = block * 0
    lanes = philox(zero + step, block, zero, zero, key & _LOW, (key >> 32) & _LOW)
    return xp.stack(lanes, -1).reshape((*zero.shape[:-1], -1))[..., :vocab]


def one_word(token: int, key: int, step: int) -> int:
    """`words` of one id, in Python integers."""
    return philox(step, token >> 2, 0, 0, key & _LOW, (key >> 32) & _LOW)[token & 3]


def gumbel(xp: Any, word: Any) -> Any:
    """Standard Gumbel noise of 32-bit words: -log(-log(1 - u)) with u = (word + 1/2) / 2^32.

    Large noise comes from small u, where float32 keeps all 32 bits, so ties between the tokens
    that can win are as rare as the words' own. u is clamped below 1: noise is always finite.
    """
    u = ((xp.asarray(word, dtype=xp.float32) + 0.5) * 2.0**-32).clip(max=1.0 - 2.0**-24)
    return -xp.log(-xp.log1p(-u))
