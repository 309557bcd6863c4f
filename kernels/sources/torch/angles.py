"""Cosines and sines [T, r] of positions."""

from .constants import MSCALE


def angles(pos, freq):
    angle = pos.float()[:, None] * freq
    return angle.cos().mul_(MSCALE), angle.sin().mul_(MSCALE)
