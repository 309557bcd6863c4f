"""Norms by root mean square, one program a row, with or without a second summand."""

import triton
import triton.language as tl


@triton.jit
def norm_row(x, y, w, total, out, D, eps, ADD: tl.constexpr, KEEP: tl.constexpr, B: tl.constexpr):
    """out = s / rms(s) * w with s = x (+ y); KEEP stores s, and norms it as it is stored."""
    row = tl.program_id(0).to(tl.int64) * D
    at = tl.arange(0, B)
    here = at < D
    s = tl.load(x + row + at, mask=here, other=0.0).to(tl.float32)
    if ADD:
        s += tl.load(y + row + at, mask=here, other=0.0).to(tl.float32)
    if KEEP:
        stored = s.to(total.dtype.element_ty)
        tl.store(total + row + at, stored, mask=here)
        s = stored.to(tl.float32)
    by = 1.0 / tl.sqrt(tl.sum(s * s, 0) / D + eps)
    weight = tl.load(w + at, mask=here, other=0.0).to(tl.float32)
    tl.store(out + row + at, (s * by * weight).to(out.dtype.element_ty), mask=here)


def shape(D):
    """Block and warps of a row."""
    B = triton.next_power_of_2(D)
    return {"B": B, "num_warps": min(max(B // 512, 1), 16)}
