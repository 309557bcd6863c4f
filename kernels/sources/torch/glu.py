"""y = gate(g) * u"""

from .gate import gate


def run(g, u):
    return gate(g.float()).mul_(u).to(g.dtype)
