"""Rotary embedding of x [T, H, d] with cosines and sines [T, r]: half-split pairs."""

import torch


def turn(x, cos, sin):
    r = cos.shape[-1]
    cos, sin = cos[:, None], sin[:, None]
    first, second, rest = x.float().split((r, r, x.shape[-1] - 2 * r), -1)
    parts = (first * cos - second * sin, second * cos + first * sin, rest)
    return torch.cat(parts, -1).to(x.dtype)
