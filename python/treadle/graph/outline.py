"""What remains of a graph once its nodes are planned."""

from __future__ import annotations

from typing import cast

from treadle.graph.dims import Shape
from treadle.graph.ir import Graph
from treadle.types.outline import Outline


def outline(graph: Graph) -> Outline:
    """The outline of a graph whose run-time dims shape no weight."""

    def sizes(shape: Shape) -> tuple[int, ...]:
        return cast("tuple[int, ...]", graph.dims.sizes(shape))

    (vocab,) = sizes(graph.values[graph.outputs[0]].shape[-1:])
    return Outline(
        hash=graph.hash,
        name=graph.name,
        vocab=vocab,
        page_size=graph.size("B") if graph.state else 1,
        heads=[cast("tuple[int, int]", sizes(held.shape[3:])) for held in graph.state.values()],
        params={name: (p.format, sizes(p.shape)) for name, p in graph.params.items()},
    )
