"""The oracle: every op by its reference, on numpy, one token at a time where it matters."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from treadle.backends.reference.device import ReferenceDevice
from treadle.backends.stream import StreamExecutable
from treadle.errors import Unsupported

if TYPE_CHECKING:
    from treadle.graph import Graph
    from treadle.limits import Limits
    from treadle.types import Weights

__all__ = ["Reference"]


class Reference:
    """`Backend` in float32 on numpy.

    Products and attention are computed token by token, so a row's logits do not depend on the
    batch or on how a prompt was cut into chunks: same seed, same tokens, bit for bit. `device`
    and `dtype` take "cpu" and "f32" only; `threads` is numpy's to decide (OPENBLAS_NUM_THREADS).
    """

    def __init__(
        self, device: str | None = None, dtype: str | None = None, threads: int | None = None
    ) -> None:
        if device not in (None, "cpu"):
            raise Unsupported(
                f"the reference runs on the CPU, not on {device!r}",
                at="device",
                hint="use backend torch",
            )
        if dtype not in (None, "f32"):
            raise Unsupported(
                f"the reference computes in f32, not in {dtype!r}",
                at="dtype",
                hint="use backend torch",
            )
        self.device, self.act = "cpu", "f32"
        self.threads = threads or os.cpu_count() or 1

    def compile(
        self, graph: Graph, weights: Weights, limits: Limits, *, pages: int | None = None
    ) -> StreamExecutable:
        """Widens all weights to float32. Raises ModelFormatError for weights that do not fit."""
        device = ReferenceDevice(graph, weights, limits, pages)
        return StreamExecutable("reference", device, limits)
