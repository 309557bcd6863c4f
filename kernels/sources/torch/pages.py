"""The next version of a pool [P, 2, B, K, d], keys and values of new tokens in their slots."""


def written(kv, k, v, slots):
    out = kv.clone()
    page, offset = slots // kv.shape[2], slots % kv.shape[2]
    out[page, 0, offset] = k
    out[page, 1, offset] = v
    return out
