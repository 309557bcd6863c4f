"""sum = x + y; normed = sum / rms(sum) * w

`run` norms the sum as it is stored and gives both, `run_normed` never rounds it and gives the norm.
"""

import torch

from .norm import normed


def run(x, y, w):
    total = torch.add(x, y)
    return total, normed(total, w).to(x.dtype)


def run_normed(x, y, w):
    return normed(x.float() + y.float(), w).to(x.dtype)
