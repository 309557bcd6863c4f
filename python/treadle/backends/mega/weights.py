"""Params as the CPU runtime takes them: matrices packed into strips, the rest as float32."""

from __future__ import annotations

import mmap
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle import _core
from treadle.backends.params import tensor_of
from treadle.mega.records import NONE, STRIP, Code
from treadle.models.quant import dequantise
from treadle.types import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from treadle.graph import Graph
    from treadle.mega import Plan
    from treadle.types import Weights

_AT_ONCE = 1 << 20  # bytes packed before their pages are given back
_MATRIX = (Code.EMBED, Code.LINEAR, Code.EXPERTS_UP, Code.EXPERTS_DOWN)


def bound(graph: Graph, weights: Weights, plans: Iterable[Plan], threads: int) -> list[Any]:
    """Params in the plans' order: (kind, rows, columns, packed[, experts]), float32 [n], or None
    for one that no plan reads. Packs on so many threads.

    Raises ModelFormatError for a tensor that is missing or has another shape.
    """
    matrices, values = used(plans)
    tensors = {
        number: tensor_of(graph, weights, name)
        for number, name in enumerate(graph.params)
        if number in matrices | values
    }
    sizes = {number: packed_bytes(tensors[number]) for number in sorted(matrices)}
    starts = dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))
    memory = _core.cpu_buffer(sum(sizes.values()))  # one, because large pages are

    def one(number: int) -> Any:
        if number in matrices:
            start = starts[number]
            return packed(tensors[number], memory[start : start + sizes[number]])
        return dequantise(tensors[number]).reshape(-1) if number in values else None

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(len(graph.params))))


def used(plans: Iterable[Plan]) -> tuple[set[int], set[int]]:
    """Numbers of the params that plans multiply with, and of those they read as vectors."""
    matrices: set[int] = set()
    values: set[int] = set()
    for plan in plans:
        for site in plan.sites:
            if site.op in _MATRIX:
                matrices |= {*site.w}
            values |= {*site.b, site.norm, site.post, site.q_norm, site.k_norm, site.freq}
    return matrices - {NONE}, values - {NONE}


def packed_bytes(tensor: Tensor) -> int:
    """Bytes of `packed`, whole cache lines."""
    *experts, rows, columns = tensor.shape
    kind = tensor.format if has_kernel(tensor.format) else "f32"
    return _core.cpu_packed_bytes(kind, rows, columns) * (experts[0] if experts else 1)


def packed(tensor: Tensor, out: NDArray[np.uint8]) -> tuple[Any, ...]:
    """A matrix [rows, columns], or one an expert [experts, rows, columns], in strips of 16 rows.

    What no kernel multiplies with as it is, is widened to float32. A mapped file's pages are given
    back as they are packed, so that memory never holds both forms of a model.
    """
    if not has_kernel(tensor.format):
        tensor = Tensor(tensor.name, tensor.shape, "f32", dequantise(tensor))
    *experts, rows, columns = tensor.shape
    count = experts[0] if experts else 1
    data = np.ascontiguousarray(tensor.data).reshape(count, -1).view(np.uint8)
    each = data.shape[1] // rows * STRIP  # bytes of a strip in the file
    strips = max(1, _AT_ONCE // each)
    for source, target in zip(data, out.reshape(count, -1), strict=True):
        for first in range(0, -(-rows // STRIP), strips):
            _core.cpu_pack(tensor.format, rows, columns, source, target, first, strips)
            _give_back(source[first * each : (first + strips) * each])
    return (tensor.format, rows, columns, out, *experts)


def _give_back(data: NDArray[np.uint8]) -> None:
    """Tells the system that the pages behind part of a mapped file are not needed for now; they
    are read again if they are. Memory of any other kind is left alone."""
    base: Any = data
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    if not isinstance(base, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return
    begin = data.ctypes.data - np.frombuffer(base, np.uint8).ctypes.data
    start = begin // mmap.PAGESIZE * mmap.PAGESIZE
    base.madvise(mmap.MADV_DONTNEED, start, begin + len(data) - start)


@cache
def has_kernel(kind: str) -> bool:
    """Whether the runtime's products take this format as it is."""
    try:
        _core.cpu_packed_bytes(kind, 1, 256)  # a row that every format divides
    except _core.CoreError:
        return False
    return True
