"""Params as the CPU runtime takes them: matrices packed into strips, the rest as float32."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle import _core
from treadle.backends.params import tensor_of
from treadle.mega.records import NONE, Code
from treadle.models.quant import dequantise
from treadle.types import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from treadle.graph import Graph
    from treadle.mega import Plan
    from treadle.types import Weights

KINDS = frozenset("f32 f16 bf16 q4_0 q4_1 q8_0 q4_k q5_k q6_k".split())  # noqa: SIM905
"""Formats whose products the runtime computes as they are; others are widened to float32."""

_MATRIX = (Code.EMBED, Code.LINEAR, Code.EXPERTS_UP, Code.EXPERTS_DOWN)


def bound(graph: Graph, weights: Weights, plans: Iterable[Plan], threads: int) -> list[Any]:
    """Params in the plans' order: (kind, rows, columns, packed[, experts]), float32 [n], or None
    for one that no plan reads. Packs on so many threads.

    Raises ModelFormatError for a tensor that is missing or has another shape.
    """
    matrices, values = used(plans)
    names = [*graph.params]

    def one(number: int) -> Any:
        name = names[number]
        if number in matrices:
            return packed(tensor_of(graph, weights, name))
        if number in values:
            return dequantise(tensor_of(graph, weights, name)).reshape(-1)
        return None

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, range(len(names))))


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


def packed(tensor: Tensor) -> tuple[Any, ...]:
    """A matrix [rows, columns], or one an expert [experts, rows, columns], in strips of 16 rows."""
    if tensor.format not in KINDS:
        tensor = Tensor(tensor.name, tensor.shape, "f32", dequantise(tensor))
    *experts, rows, columns = tensor.shape
    count = experts[0] if experts else 1
    size = _core.cpu_packed_bytes(tensor.format, rows, columns)
    out = aligned(count * size)
    data = np.ascontiguousarray(tensor.data).reshape(-1).view(np.uint8)
    each = len(data) // count
    for i in range(count):
        source, target = data[i * each : (i + 1) * each], out[i * size : (i + 1) * size]
        _core.cpu_pack(tensor.format, rows, columns, source, target)
    return (tensor.format, rows, columns, out, *experts)


def aligned(size: int, line: int = 64) -> NDArray[np.uint8]:
    """Uninitialised bytes that start on a cache line."""
    raw = np.empty(size + line, np.uint8)
    start = -raw.ctypes.data % line
    return raw[start : start + size]
