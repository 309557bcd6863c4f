"""Rotary embedding of q and k with cosines and sines from a table [positions, 2r]"""

from .turn import turn


def run(q, k, cache, positions):
    cos, sin = cache.index_select(0, positions).chunk(2, -1)
    return turn(q, cos, sin), turn(k, cos, sin)
