"""Causal attention over the pages of a pool [P, 2, B, K, d], any number of queries a sequence"""

from .attend import TABLE, attend
from .constants import SCALE, SOFTCAP, WINDOW


def run(q, kv, starts, lens, table):
    k, v = kv[:, 0], kv[:, 1]
    return attend(
        q, k, v, lens, SCALE, layout=TABLE, starts=starts, pages=table, window=WINDOW, cap=SOFTCAP
    )[0]
