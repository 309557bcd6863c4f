"""Rotary embedding of all heads of one token: half-split pairs, the rest is copied."""

import triton
import triton.language as tl


@triton.jit
def turn(
    x, y, cos, sin, H, d: tl.constexpr, r: tl.constexpr, HB: tl.constexpr, RB: tl.constexpr,
    REST: tl.constexpr,
):  # fmt: skip
    """x, y point to [H, d]; cos, sin [RB], r of which count; REST: power of two ≥ d - 2r, or 0."""
    j = tl.arange(0, RB)
    for begin in range(0, H, HB):
        h = begin + tl.arange(0, HB)
        at = h[:, None] * d + j[None]
        here = (h[:, None] < H) & (j[None] < r)
        first = tl.load(x + at, mask=here, other=0.0).to(tl.float32)
        second = tl.load(x + at + r, mask=here, other=0.0).to(tl.float32)
        one = first * cos[None] - second * sin[None]
        two = second * cos[None] + first * sin[None]
        tl.store(y + at, one.to(y.dtype.element_ty), mask=here)
        tl.store(y + at + r, two.to(y.dtype.element_ty), mask=here)
        if REST > 0:
            k = 2 * r + tl.arange(0, REST)
            at = h[:, None] * d + k[None]
            here = (h[:, None] < H) & (k[None] < d)
            tl.store(y + at, tl.load(x + at, mask=here), mask=here)


def blocks(d, r):
    """Constants of `turn`."""
    rest = d - 2 * r
    return {
        "d": d, "r": r, "HB": 8, "RB": triton.next_power_of_2(r),
        "REST": triton.next_power_of_2(rest) if rest else 0,
    }  # fmt: skip
