"""C = A Bᵀ"""

from torch.nn import functional


def run(a, b):
    return functional.linear(a, b)
