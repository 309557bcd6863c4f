"""Causal attention over the pages of a pool, any number of queries a sequence"""

import torch

from .attend import attend
from .constants import SCALE, SOFTCAP, WINDOW


def run(q, kv, starts, lens, table):
    out = torch.zeros_like(q)
    begins, lengths, page = starts.tolist(), lens.tolist(), kv.shape[2]
    for s, length in enumerate(lengths):
        first, last = begins[s], begins[s + 1]
        if first == last:
            continue
        mine = kv.index_select(0, table[s, : -(-length // page)])
        k, v = (mine[:, which].flatten(0, 1)[:length] for which in (0, 1))
        out[first:last] = attend(q[first:last], k, v, SCALE, WINDOW, SOFTCAP)[0]
    return out
