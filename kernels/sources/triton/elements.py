"""Grid and block of kernels that go over elements one by one."""

import triton

BLOCK = 1024


def grid(n):
    return (triton.cdiv(n, BLOCK),)
