"""sum = x wᵀ + y"""

from torch.nn import functional


def run(x, w, y):
    return functional.linear(x, w).add_(y)
