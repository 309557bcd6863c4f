"""Keys and values of new tokens written into their slots of a pool [P, 2, B, K, d]"""

import triton
import triton.language as tl


@triton.jit
def _write(out, k, v, slots, page, row, B: tl.constexpr):
    t = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots + t).to(tl.int64)
    at = (slot // page * 2 * page + slot % page) * row
    i = tl.arange(0, B)
    tl.store(out + at + i, tl.load(k + t * row + i, mask=i < row), mask=i < row)
    tl.store(out + at + page * row + i, tl.load(v + t * row + i, mask=i < row), mask=i < row)


def run(kv, k, v, slots):
    out = kv.clone()
    row = k.shape[1] * k.shape[2]
    if k.shape[0]:
        B = triton.next_power_of_2(row)
        _write[(k.shape[0],)](out, k, v, slots, kv.shape[2], row, B)
    return out
