"""Rotary embedding at given positions"""

from .angles import angles
from .turn import turn


def run(x, pos, freq):
    return turn(x, *angles(pos, freq))
