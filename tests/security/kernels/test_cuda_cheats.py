"""Tricks that only a GPU allows: lines of its L2 that stay from call to call."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from treadle.kernels.build import build
from treadle.kernels.run.match import Match, Outcome
from treadle.kernels.run.refusal import Refused
from treadle.kernels.run.stage import Settings, Side
from treadle.kernels.schema import (
    AxisConst,
    AxisVar,
    Definition,
    RandomInput,
    Solution,
    Source,
    Spec,
    Tensor,
    Workload,
)

pytestmark = [pytest.mark.gpu, pytest.mark.alone]

PRODUCT = Definition(
    name="linear_n2048_k2048",
    op_type="gemm",
    axes={"M": AxisVar(), "N": AxisConst(value=2048), "K": AxisConst(value=2048)},
    inputs={
        "A": Tensor(shape=["M", "K"], dtype="bfloat16"),
        "B": Tensor(shape=["N", "K"], dtype="bfloat16"),
    },
    outputs={"C": Tensor(shape=["M", "N"], dtype="bfloat16")},
    reference="def run(A, B):\n    return A @ B.T\n",
    treadle={"op": "linear", "attrs": {}, "weights": ["B"]},
)
HONEST = """\
import torch


def run(A, B, C):
    torch.matmul(A, B.T, out=C)
"""
PINNED = """\
import ctypes
import torch

driver = ctypes.CDLL("libcuda.so.1")
LIMIT = 6  # CU_LIMIT_PERSISTING_L2_CACHE_SIZE


class Window(ctypes.Structure):
    _fields_ = [("base", ctypes.c_uint64), ("bytes", ctypes.c_size_t), ("share", ctypes.c_float),
                ("hit", ctypes.c_int), ("miss", ctypes.c_int), ("rest", ctypes.c_byte * 64)]


def run(A, B, C):
    driver.cuCtxSetLimit(LIMIT, ctypes.c_size_t(32 << 20))
    window = Window(B.data_ptr(), B.nbytes, 1.0, 2, 1)  # persisting where it hits, streaming else
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    driver.cuStreamSetAttribute(stream, 1, ctypes.byref(window))
    torch.matmul(A, B.T, out=C)
"""


def device_here() -> bool:
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return library.cuInit(0) == 0 and library.cuDeviceGetCount(ctypes.byref(count)) == 0


def measured(body: str, cache: Path) -> Outcome:
    """A body against the honest one. Raises Refused."""
    from treadle.kernels.run.cuda import Cuda

    def side(name: str, content: str) -> Side:
        one = Solution(
            name=name, definition=PRODUCT.name, author="corpus",
            spec=Spec(language="python", target_hardware=["cuda"], entry_point="main.py::run"),
            sources=[Source(path="main.py", content=content)],
        )  # fmt: skip
        return Side(one, build(one, PRODUCT, device="cuda:test", cache=cache).folder)

    work = Workload(uuid="m16", axes={"M": 16}, inputs={n: RandomInput() for n in "AB"})
    settings = Settings(looks=(12,), seconds=4.0, calls=32)
    match = Match(PRODUCT, work, side("baseline", HONEST), Cuda(), settings)
    try:
        return match.run(side("candidate", body))
    finally:
        match.close()


@pytest.mark.skipif(not device_here(), reason="no CUDA driver or device")
def test_pinned_lines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        measured(PINNED, tmp_path)
    assert (caught.value.status, caught.value.code) == ("RUNTIME_ERROR", "l2_persist")


@pytest.mark.skipif(not device_here(), reason="no CUDA driver or device")
def test_an_honest_product_is_not(tmp_path: Path) -> None:
    assert measured(HONEST, tmp_path).audits > 0
