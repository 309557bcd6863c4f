"""x / rms(x) * w in float32."""

import torch

from .constants import EPS


def normed(x, w):
    wide = x.float()
    return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPS) * w.float()
