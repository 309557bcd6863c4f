"""Torch source of every op, of which a Definition's self-contained `run` is put together.

A test runs each against the op's own reference, so that neither can drift from the other. Inner
arithmetic is float32 whatever the storage type, float64 stays float64, as in the graph.
"""

from __future__ import annotations

WIDE = """\
def wide(x):
    return x if x.dtype == torch.float64 else x.float()
"""

OPS: dict[str, str] = {
    "add": """\
def add(x, y):
    return (wide(x) + wide(y)).to(x.dtype)
""",
    "allreduce": """\
def allreduce(x, *, group):
    return x  # alone, a rank is its whole group
""",
    "attention": """\
def attention(q, kv, starts, lens, table, *, scale, window=0, softcap=0.0):
    T, H, d = q.shape
    K = kv.shape[3]
    out = torch.zeros_like(q)
    for s in range(lens.shape[0]):
        first, last, length = int(starts[s]), int(starts[s + 1]), int(lens[s])
        if first == last:
            continue
        pages = table[s, : -(-length // kv.shape[2])].long()
        keys, values = (
            wide(kv[pages, which].reshape(-1, K, d)[:length]).repeat_interleave(H // K, 1)
            for which in (0, 1)
        )  # [length, H, d]
        scores = torch.einsum("nhd,lhd->hnl", wide(q[first:last]), keys) * scale
        if softcap:
            scores = softcap * torch.tanh(scores / softcap)
        query = torch.arange(length - (last - first), length, device=q.device)[:, None]
        key = torch.arange(length, device=q.device)[None]
        seen = key <= query
        if window:
            seen &= key > query - window
        scores = scores.masked_fill(~seen, -math.inf)
        mixed = torch.einsum("hnl,lhd->nhd", torch.softmax(scores, -1), values)
        out[first:last] = mixed.to(q.dtype)
    return out
""",
    "embed": """\
def embed(table, ids):
    return table[ids.long()]
""",
    "experts": """\
def experts(x, w, i, wg, wu, wd, *, act):
    y = torch.zeros_like(wide(x))
    for e in torch.unique(i).tolist():
        row, column = torch.nonzero(i == e, as_tuple=True)
        tokens = wide(x[row])
        h = gate(tokens @ wide(wg[e]).T, act) * (tokens @ wide(wu[e]).T)
        y[row] += h @ wide(wd[e]).T * w[row, column, None].to(y.dtype)
    return y.to(x.dtype)
""",
    "glu": """\
def glu(g, u, *, act):
    return (gate(wide(g), act) * wide(u)).to(g.dtype)
""",
    "kv_write": """\
def kv_write(kv, k, v, slots):
    out, slots = kv.clone(), slots.long()
    page, offset = slots // kv.shape[2], slots % kv.shape[2]
    out[page, 0, offset] = k.to(kv.dtype)
    out[page, 1, offset] = v.to(kv.dtype)
    return out
""",
    "linear": """\
def linear(x, w, b=None):
    y = wide(x) @ wide(w).T
    return (y if b is None else y + wide(b)).to(x.dtype)
""",
    "rmsnorm": """\
def rmsnorm(x, w, *, eps):
    v = wide(x)
    v = v / torch.sqrt(v.square().mean(-1, keepdim=True) + eps) * wide(w)
    return v.to(x.dtype)
""",
    "rope": """\
def rope(x, pos, inv_freq, *, mscale):
    r = inv_freq.shape[0]
    angle = pos.to(inv_freq.dtype)[:, None] * inv_freq
    cos, sin = (angle.cos() * mscale)[:, None], (angle.sin() * mscale)[:, None]
    first, second, rest = wide(x).split((r, r, x.shape[-1] - 2 * r), -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), -1).to(x.dtype)
""",
    "route": """\
def route(x, *, renorm, score, A):
    logits = wide(x)
    chosen = torch.argsort(logits, dim=-1, descending=True, stable=True)[:, :A]
    scores = torch.softmax(logits, -1) if score == "softmax" else torch.sigmoid(logits)
    weights = scores.gather(-1, chosen)
    if renorm:
        weights = weights / weights.sum(-1, keepdim=True)
    return weights, chosen.int()
""",
    "scale": """\
def scale(x, *, by):
    return (wide(x) * by).to(x.dtype)
""",
    "softcap": """\
def softcap(x, *, cap):
    return (cap * torch.tanh(wide(x) / cap)).to(x.dtype)
""",
    "split": """\
def split(x, *, sizes):
    return tuple(part.contiguous() for part in torch.split(x, sizes, -1))
""",
    "take": """\
def take(x, rows):
    return x[rows.long()]
""",
    "view": """\
def view(x, *, shape):
    return x.reshape(shape)
""",
}
"""Op → a function of its name and operands."""

GATE = """\
def gate(x, act):
    if act == "silu":
        return torch.nn.functional.silu(x)
    return torch.nn.functional.gelu(x, approximate="tanh")
"""

GQA_DECODE = """\
def run(q, k_cache, v_cache, kv_indptr, kv_indices, {last}sm_scale):
    size, groups = k_cache.shape[1], q.shape[1] // k_cache.shape[2]
    output = torch.zeros_like(q)
    lse = torch.full(q.shape[:2], -math.inf, dtype=torch.float32, device=q.device)
    for b in range(q.shape[0]):
        first, stop = int(kv_indptr[b]), int(kv_indptr[b + 1])
        if first >= stop:
            continue
        length = (stop - first - 1) * size + {length}
        pages = kv_indices[first:stop].long()
        k, v = (
            wide(t[pages].flatten(0, 1)[:length]).repeat_interleave(groups, 1)
            for t in (k_cache, v_cache)
        )  # [length, H, d]
        scores = torch.einsum("hd,lhd->hl", wide(q[b]), k) * sm_scale
        lse[b] = torch.logsumexp(scores, -1) / math.log(2.0)
        output[b] = torch.einsum("hl,lhd->hd", torch.softmax(scores, -1), v).to(q.dtype)
    return output, lse
"""

CAUSAL = """\
def causal(q, k, v, sm_scale, output, lse, first, last):
    # Queries are the last of the sequence's tokens; q [n, H, d], k and v [length, K, d].
    if first == last:
        return
    n, length, groups = last - first, k.shape[0], q.shape[1] // k.shape[1]
    k, v = (wide(t).repeat_interleave(groups, 1) for t in (k, v))
    scores = torch.einsum("nhd,lhd->nhl", wide(q[first:last]), k) * sm_scale
    query = torch.arange(length - n, length, device=q.device)[:, None, None]
    scores = scores.masked_fill(torch.arange(length, device=q.device) > query, -math.inf)
    lse[first:last] = torch.logsumexp(scores, -1) / math.log(2.0)
    weights = torch.nan_to_num(torch.softmax(scores, -1))  # a query before all keys sees none
    output[first:last] = torch.einsum("nhl,lhd->nhd", weights, v).to(q.dtype)
"""

GQA_PREFILL = """\
def run(q, k_cache, v_cache, qo_indptr, kv_indptr, kv_indices, {last}sm_scale):
    size = k_cache.shape[1]
    output = torch.zeros_like(q)
    lse = torch.full(q.shape[:2], -math.inf, dtype=torch.float32, device=q.device)
    for b in range(qo_indptr.shape[0] - 1):
        first, stop = int(kv_indptr[b]), int(kv_indptr[b + 1])
        if first >= stop:
            continue
        length = (stop - first - 1) * size + {length}
        pages = kv_indices[first:stop].long()
        k, v = (t[pages].flatten(0, 1)[:length] for t in (k_cache, v_cache))
        causal(q, k, v, sm_scale, output, lse, int(qo_indptr[b]), int(qo_indptr[b + 1]))
    return output, lse
"""

GQA_RAGGED = """\
def run(q, k, v, qo_indptr, kv_indptr, sm_scale):
    output = torch.zeros_like(q)
    lse = torch.full(q.shape[:2], -math.inf, dtype=torch.float32, device=q.device)
    for b in range(qo_indptr.shape[0] - 1):
        first, stop = int(kv_indptr[b]), int(kv_indptr[b + 1])
        bounds = int(qo_indptr[b]), int(qo_indptr[b + 1])
        causal(q, k[first:stop], v[first:stop], sm_scale, output, lse, *bounds)
    return output, lse
"""

SAMPLING = """\
def keep_top_k(row, k):
    if not 0 < k < row.shape[0]:
        return row
    chosen = torch.topk(row, k).indices
    kept = torch.zeros_like(row).scatter_(0, chosen, row[chosen])
    return kept / kept.sum()


def keep_top_p(row, p):
    # Tokens in descending order until their mass passes p; the first always stays.
    if p >= 1.0:
        return row
    values, order = torch.sort(row, descending=True, stable=True)
    before = torch.cumsum(values, 0) - values
    values = values.masked_fill(before > p, 0.0) if p > 0 else values * (before == 0)
    values[1:] = values[1:] if p > 0 else 0.0
    return torch.zeros_like(row).scatter_(0, order, values)


def run({names}):
    samples = torch.empty(probs.shape[0], dtype=torch.int64, device=probs.device)
    for b in range(probs.shape[0]):
        row = probs[b].float()
{filters}        samples[b] = torch.multinomial(row, 1)[0]
    return samples
"""

ROPE_CACHE = """\
def run(q, k, cos_sin_cache, positions):
    r = cos_sin_cache.shape[1] // 2
    cos, sin = (t[:, None] for t in cos_sin_cache[positions].split(r, -1))

    def turn(x):
        first, second, rest = wide(x).split((r, r, x.shape[-1] - 2 * r), -1)
        parts = (first * cos - second * sin, second * cos + first * sin, rest)
        return torch.cat(parts, -1).to(x.dtype)

    return turn(q), turn(k)
"""


def module(*pieces: str) -> str:
    """A module of the given functions."""
    return "import math\n\nimport torch\n\n\n" + "\n\n".join((WIDE, *pieces))
