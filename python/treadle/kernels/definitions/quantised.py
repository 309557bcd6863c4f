"""`linear` with weights in w4g32: 4-bit codes in groups of 32 with a float16 scale each.

A row of w is K/2 bytes of codes, then K/32 scales; w = (code - 8) * scale, as GGUF's q4_0 has it,
so that format repacks without loss. Codes lie in the order in which a warp's tensor-core fragments
use them: of 128 columns (64 bytes) lane t of 4 owns 16 bytes, 4 of each of the 4 groups; those hold
columns 8t … 8t + 7 of the group, column 2j in nibble j and column 2j + 1 in nibble j + 4.
"""

from __future__ import annotations

from treadle.kernels.definitions import text
from treadle.kernels.schema import AxisConst, AxisVar, Definition, Tensor

UNPACK = """\
def unpack(w, K):
    raw = w.view(torch.uint8)
    codes = raw[:, : K // 2].reshape(w.shape[0], K // 128, 4, 4, 4)  # [N, block, lane, group, byte]
    nibbles = torch.stack((codes & 15, codes >> 4), -1).flatten(-2)  # nibble 0 .. 7
    order = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7], device=w.device)  # column 0 .. 7
    columns = nibbles[..., order].transpose(2, 3).reshape(w.shape[0], K)
    scales = raw[:, K // 2 :].contiguous().view(torch.float16)
    return (columns.float() - 8.0) * scales.float().repeat_interleave(32, 1)
"""

RUN = """\
def run(A, B):
    return (wide(A) @ unpack(B, A.shape[1]).to(wide(A).dtype).T).to(A.dtype)
"""


def gemm_w4g32(n: int, k: int, model: str) -> Definition:
    """C = A · Bᵀ in bfloat16 with B in w4g32."""
    return Definition(
        name=f"gemm_n{n}_k{k}_bf16_w4g32",
        op_type="gemm",
        axes={
            "M": AxisVar(),
            "N": AxisConst(value=n),
            "K": AxisConst(value=k),
            "row_bytes": AxisConst(value=k // 2 + k // 16),
        },
        inputs={
            "A": Tensor(shape=["M", "K"], dtype="bfloat16"),
            "B": Tensor(shape=["N", "row_bytes"], dtype="int8"),
        },
        outputs={"C": Tensor(shape=["M", "N"], dtype="bfloat16")},
        reference=text.module(UNPACK, RUN),
        tags=[f"model:{model}", "quantization:w4g32"],
        treadle={"op": "linear", "format": "w4g32", "weights": ["B"], "flops": "2 * M * N * K"},
    )
