"""y = norm(x) wᵀ over all rows (`run`), or over the rows asked for (`run_take`)"""

from torch.nn import functional

from .norm import normed


def run(x, norm, w):
    return functional.linear(normed(x, norm).to(x.dtype), w)


def run_take(x, rows, norm, w):
    return run(x.index_select(0, rows), norm, w)
