"""The sampler on the host: one row at a time, so a row's token depends on that row alone.

Order: mask, logit_bias, penalties, temperature, top_k, top_p, min_p, draw. Every step after the
mask narrows a list of candidates instead of sorting the vocabulary. Nothing here is approximate:
a candidate is dropped only when it cannot be drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.backends.philox import GUMBEL_MAX, all_words, gumbel, one_word, words
from treadle.types import Sampled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from treadle.types import Mask, SampleBatch

    F32 = NDArray[np.float32]
    I64 = NDArray[np.int64]

DRAWN, NO_LEGAL_TOKEN, NOT_FINITE = 0, 1, 2

_NUCLEUS_SPAN = 12.0  # first guess at how far below the maximum, in nats, a nucleus reaches
_FEW = 256  # candidates whose noise costs less than finding out which can win


def sample(logits: F32, mask: Mask | None, params: SampleBatch) -> Sampled:
    """Draws one token for each row of `logits` [R, V]; `logits` is not changed.

    A row without a legal token or with non-finite logits gets id -1 and its status; the other
    rows are drawn all the same.
    """
    R, V = logits.shape
    wanted = max(0, int(params.logprobs.max())) if R else 0
    ids = np.full(R, -1, np.int32)
    status = np.zeros(R, np.uint8)
    logprobs = np.full(R, np.nan, np.float32)
    top_ids = np.full((R, wanted), -1, np.int32)
    top_logprobs = np.full((R, wanted), np.nan, np.float32)
    masked = {} if mask is None else {int(r): i for i, r in enumerate(mask.rows)}
    for r in range(R):
        x = logits[r]
        if not (np.isfinite(x.min()) and np.isfinite(x.max())):  # NaN survives both
            status[r] = NOT_FINITE
            continue
        legal = legal_ids(mask.bits[masked[r]], V) if mask is not None and r in masked else None
        if legal is not None and not len(legal):
            status[r] = NO_LEGAL_TOKEN
            continue
        ids[r] = draw(x, legal, params, r)
        count = int(params.logprobs[r])
        if count >= 0:
            found = log_probabilities(x, int(ids[r]), count)
            logprobs[r], top_ids[r, :count], top_logprobs[r, :count] = found
    return Sampled(ids, status, logprobs, top_ids, top_logprobs)


def legal_ids(bits: NDArray[np.int32], vocab: int) -> I64:
    """Ascending ids of the set bits of one mask row [W]; bits at or beyond `vocab` do not count."""
    octets = np.ascontiguousarray(bits).astype("<i4", copy=False).view(np.uint8)
    return np.flatnonzero(np.unpackbits(octets, bitorder="little")[:vocab])


def draw(x: F32, legal: I64 | None, params: SampleBatch, r: int) -> int:
    """The token of row r from its finite raw logits x [V]; legal = None: all are."""
    z = adjust(x, params, r)
    if legal is not None:
        z = z[legal]
    peak = int(z.argmax())  # the first of equals, hence the lowest id
    temperature = params.temperature[r]
    if temperature == 0 or len(z) == 1:
        return peak if legal is None else int(legal[peak])
    # z <= 0 from here on, so nothing overflows however small the temperature is.
    with np.errstate(over="ignore"):
        z = (z - z[peak]) / temperature
    kept = truncate(z, int(params.top_k[r]), float(params.top_p[r]), float(params.min_p[r]))
    if kept is not None:
        legal = kept if legal is None else legal[kept]
        z = z[kept]
    return gumbel_max(z, legal, int(params.key[r]), int(params.step[r]))


def adjust(x: F32, params: SampleBatch, r: int) -> F32:
    """x [V] with row r's logit_bias and penalties applied, a copy if there are any."""
    b0, b1 = int(params.bias_ptr[r]), int(params.bias_ptr[r + 1])
    p0, p1 = int(params.pen_ptr[r]), int(params.pen_ptr[r + 1])
    if b0 == b1 and p0 == p1:
        return x
    z = x.copy()
    z[params.bias_ids[b0:b1]] += params.bias_values[b0:b1]
    seen, count = params.pen_ids[p0:p1], params.pen_out[p0:p1].astype(np.float32)
    old: F32 = z[seen]
    factor = params.repetition[r]
    z[seen] = np.where(old > 0, old / factor, old * factor)
    z[seen] -= params.frequency[r] * count + params.presence[r] * (count > 0)
    return z


def truncate(z: F32, top_k: int, top_p: float, min_p: float) -> I64 | None:
    """Ascending indices of z [C] (maximum 0) that top_k, then top_p, then min_p leave; None = all.

    top_k keeps every token as likely as the k-th; top_p keeps the shortest list of most likely
    tokens, lower index first among equals, whose mass among those left by top_k reaches top_p.
    Source of top_p: Holtzman et al., arXiv 1904.09751; of min_p: Nguyen et al., arXiv 2407.01082.
    """
    kept: I64 | None = None
    if 0 < top_k < len(z):
        kept = np.flatnonzero(z >= np.partition(z, len(z) - top_k)[len(z) - top_k])
    if top_p < 1.0:
        among = z if kept is None else z[kept]
        inside = nucleus(among, top_p)
        kept = inside if kept is None else kept[inside]
    if min_p > 0.0:
        among = z if kept is None else z[kept]
        inside = np.flatnonzero(among >= np.float32(np.log(min_p)))
        kept = inside if kept is None else kept[inside]
    return kept


def nucleus(z: F32, top_p: float) -> I64:
    """Ascending indices of the top_p nucleus of z [C] (maximum 0).

    Only values within a span of the maximum are sorted; the span doubles until they hold enough.
    """
    weights = np.exp(z)
    target = top_p * float(weights.sum(dtype=np.float64))
    span = _NUCLEUS_SPAN
    while True:
        values = z[z >= -span]
        if len(values) == len(z) or float(np.exp(values).sum(dtype=np.float64)) >= target:
            break
        span *= 2
    values = -np.sort(-values)
    mass = np.cumsum(np.exp(values), dtype=np.float64)
    length = 1 + int(np.searchsorted(mass[:-1], target))
    last = values[length - 1]
    kept = np.flatnonzero(z >= last)
    if len(kept) > length:  # equals of the last one: the lower indices stay
        ties = np.flatnonzero(z[kept] == last)
        kept = np.delete(kept, ties[length - len(kept) :])
    return kept


def gumbel_max(z: F32, ids: I64 | None, key: int, step: int) -> int:
    """The id whose z + noise is largest, the lowest among equals; ids = None: 0 … len(z)-1.

    The draw is softmax(z) exactly. Tokens that even the largest possible noise could not lift
    past the most likely token's own score are left out before their noise is computed.
    """
    vocab = len(z)
    if vocab > _FEW:
        peak = int(z.argmax())
        own = one_word(peak if ids is None else int(ids[peak]), key, step)
        near = np.flatnonzero(z >= float(z[peak]) + gumbel(np, own) - GUMBEL_MAX)
        if len(near) * 2 < vocab:
            z, ids = z[near], near if ids is None else ids[near]
    keys, steps = np.array([key], np.uint64).view(np.int64), np.array([step], np.int64)
    if ids is None:
        ids = np.arange(vocab)
    if len(ids) == int(ids[-1]) + 1:
        word = all_words(np, len(ids), keys, steps)
    elif len(ids) * 8 > int(ids[-1]):
        word = all_words(np, int(ids[-1]) + 1, keys, steps)[ids]
    else:
        word = words(np, ids, keys, steps)
    return int(ids[(z + gumbel(np, word)).argmax()])


def log_probabilities(x: F32, drawn: int, count: int) -> tuple[float, Any, Any]:
    """Natural log-probability of `drawn` under softmax(x), and the `count` most likely ids with
    theirs, lower id first among equals."""
    V = len(x)
    peak = float(x.max())
    total = peak + float(np.log(np.exp(x - np.float32(peak)).sum(dtype=np.float64)))
    count_in = min(count, V)
    if count_in == 0:
        return float(x[drawn]) - total, -1, np.nan
    kth = np.partition(x, V - count_in)[V - count_in]
    near = np.flatnonzero(x >= kth)
    top = near[np.argsort(-x[near], kind="stable")][:count_in]
    ids = np.full(count, -1, np.int32)
    values = np.full(count, np.nan, np.float32)
    ids[:count_in], values[:count_in] = top, x[top].astype(np.float64) - total
    return float(x[drawn]) - total, ids, values
