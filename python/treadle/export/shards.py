"""Weights as a run of bytes cut into shards: one set for every tier, blocks as in the source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from treadle.errors import ModelFormatError, Unsupported
from treadle.models.quant import FORMATS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from treadle.graph import Graph
    from treadle.types import Tensor, Weights

ALIGNMENT = 256
"""Every tensor begins at a multiple of so many bytes of the run (WebGPU's for bindings)."""

_SCALES = {  # format → (bytes of a block, where its float16 factors lie)
    "q4_0": (18, (0,)),
    "q4_1": (20, (0, 2)),
    "q8_0": (34, (0,)),
    "q4_k": (144, (0, 2)),
    "q5_k": (176, (0, 2)),
    "q6_k": (210, (208,)),
}


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor in the run: `rows` of `cols` weights (those of all `experts`, one after the other;
    a vector is one row). `start` and `size` in bytes."""

    format: str
    rows: int
    cols: int
    start: int
    size: int
    experts: int = 1

    def record(self, shard: int) -> dict[str, Any]:
        """The entry of plan.json: pieces are (shard, offset, length)."""
        pieces: list[list[int]] = []
        at, end = self.start, self.start + self.size
        while at < end:
            number, offset = divmod(at, shard)
            length = min(shard - offset, end - at)
            pieces.append([number, offset, length])
            at += length
        out: dict[str, Any] = {"format": self.format, "rows": self.rows, "cols": self.cols}
        return out | ({"experts": self.experts} if self.experts > 1 else {}) | {"pieces": pieces}


def layout(graph: Graph, weights: Weights) -> dict[str, Weight]:
    """Where each param of the graph goes, in the graph's order.

    Raises ModelFormatError where a tensor and its shape disagree, Unsupported for a format without
    a known block.
    """
    table: dict[str, Weight] = {}
    at = 0
    for name in graph.params:
        tensor = weights[name]
        kind = FORMATS.get(tensor.format)
        row = kind.row_bytes(tensor.shape[-1]) if kind else None
        if row is None:
            raise Unsupported(
                f"rows of {tensor.shape[-1]} weights in {tensor.format}", at=f"param {name}",
                hint=f"use a file with {', '.join(FORMATS)}",
            )  # fmt: skip
        rows = prod(tensor.shape[:-1])
        if tensor.data.nbytes != rows * row:
            raise ModelFormatError(
                f"data has {tensor.data.nbytes} bytes, its shape needs {rows * row}",
                at=f"param {name}",
            )
        experts = tensor.shape[0] if len(tensor.shape) == 3 else 1
        table[name] = Weight(tensor.format, rows, tensor.shape[-1], at, rows * row, experts)
        at += -(-rows * row // ALIGNMENT) * ALIGNMENT
    return table


def shards(table: Mapping[str, Weight], weights: Weights, size: int) -> Iterator[bytes]:
    """The run in pieces of `size` bytes, the last one shorter; gaps are zeros.

    Raises ModelFormatError for a block whose scale is not finite: nothing computes with it.
    """
    shard = bytearray()
    done = 0
    for name, weight in table.items():
        tensor = weights[name]
        data = flat(tensor)
        _finite(tensor.format, data, name)
        gap = weight.start - done
        done = weight.start + weight.size
        for part in (memoryview(bytes(gap)), memoryview(cast("Any", data))):
            while len(part):
                room = size - len(shard)
                shard += part[:room]
                part = part[room:]
                if len(shard) == size:
                    yield bytes(shard)
                    shard.clear()
    if shard:
        yield bytes(shard)


def flat(tensor: Tensor) -> NDArray[np.uint8]:
    """A tensor's bytes as they lie in the source."""
    return np.ascontiguousarray(tensor.data).reshape(-1).view(np.uint8)


def _finite(kind: str, data: NDArray[np.uint8], name: str) -> None:
    if kind not in _SCALES:
        return
    size, places = _SCALES[kind]
    blocks = data.reshape(-1, size)
    for at in places:
        high = blocks[:, at + 1] & 0x7C
        if bool((high == 0x7C).any()):
            block = int((high == 0x7C).argmax())
            raise ModelFormatError(
                f"block {block} has a scale that is not finite", at=f"param {name}",
                hint="fetch the file again",
            )  # fmt: skip
