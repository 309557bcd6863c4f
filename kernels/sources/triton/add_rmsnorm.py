"""sum = x + y; normed = sum / rms(sum) * w

`run` norms the sum as it is stored and gives both, `run_normed` never rounds it and gives the norm.
"""

import torch

from .constants import EPS
from .norm import norm_row, shape


def run(x, y, w):
    T, D = x.shape
    total, normed = torch.empty_like(x), torch.empty_like(x)
    if T:
        norm_row[(T,)](x, y, w, total, normed, D, EPS, ADD=True, KEEP=True, **shape(D))
    return total, normed


def run_normed(x, y, w):
    T, D = x.shape
    normed = torch.empty_like(x)
    if T:
        norm_row[(T,)](x, y, w, x, normed, D, EPS, ADD=True, KEEP=False, **shape(D))
    return normed
