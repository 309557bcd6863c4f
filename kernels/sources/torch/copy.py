"""The same elements under the output's own shape: `view`, and `allreduce` of a group of one."""

from .constants import SHAPE


def run(x):
    return x.clone().view(SHAPE)
