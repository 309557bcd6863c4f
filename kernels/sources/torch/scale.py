"""y = x * by"""

import torch

from .constants import BY


def run(x):
    return torch.mul(x, BY)
