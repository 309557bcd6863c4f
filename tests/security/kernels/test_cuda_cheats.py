"""Tricks that only a GPU allows: lines of its L2 that stay from call to call."""

from __future__ import annotations

from pathlib import Path

import pytest
from arena import linear, workload

from treadle.kernels.build import build
from treadle.kernels.run.match import Match, Outcome
from treadle.kernels.run.refusal import Refused
from treadle.kernels.run.stage import Settings, Side
from treadle.kernels.schema import Solution, Source, Spec

pytestmark = [pytest.mark.gpu, pytest.mark.alone, pytest.mark.usefixtures("cuda_device")]

PRODUCT = linear(2048, 2048, "bfloat16")
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

    settings = Settings(looks=(12,), seconds=4.0, calls=32)
    match = Match(PRODUCT, workload(PRODUCT, 16), side("baseline", HONEST), Cuda(), settings)
    try:
        return match.run(side("candidate", body))
    finally:
        match.close()


def test_pinned_lines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        measured(PINNED, tmp_path)
    assert (caught.value.status, caught.value.code) == ("RUNTIME_ERROR", "l2_persist")


def test_an_honest_product_is_not(tmp_path: Path) -> None:
    assert measured(HONEST, tmp_path).audits > 0
