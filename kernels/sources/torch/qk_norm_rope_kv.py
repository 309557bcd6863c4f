"""Attention's prologue without head norms: q and k rotated, k and v written into their slots"""

from .angles import angles
from .pages import written
from .turn import turn


def run(q, k, v, pos, freq, kv, slots):
    cos, sin = angles(pos, freq)
    return turn(q, cos, sin), written(kv, turn(k, cos, sin), v, slots)
