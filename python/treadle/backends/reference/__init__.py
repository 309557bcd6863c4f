"""The oracle: every op by its reference, on numpy, one token at a time where it matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.backends.reference.device import ReferenceDevice
from treadle.backends.stream import StreamExecutable

if TYPE_CHECKING:
    from treadle.graph import Graph
    from treadle.limits import Limits
    from treadle.types import Weights

__all__ = ["Reference"]


class Reference:
    """`Backend` in float32 on numpy.

    Products and attention are computed token by token, so a row's logits do not depend on the
    batch or on how a prompt was cut into chunks: same seed, same tokens, bit for bit.
    """

    def compile(
        self, graph: Graph, weights: Weights, limits: Limits, *, pages: int | None = None
    ) -> StreamExecutable:
        """Widens all weights to float32. Raises ModelFormatError for weights that do not fit."""
        device = ReferenceDevice(graph, weights, limits, pages)
        return StreamExecutable("reference", device, limits)
