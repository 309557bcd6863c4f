"""y = gate(x wgᵀ) * (x wuᵀ)"""

from torch.nn import functional

from .gate import gate


def run(x, wg, wu):
    return gate(functional.linear(x, wg).float()).mul_(functional.linear(x, wu)).to(x.dtype)
