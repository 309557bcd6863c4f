"""Projections that one matrix holds, cut into one param each: what `split` cuts after a linear.

Rows of a matrix are independent in every format, so linear and split are one linear a part, whose
weight is a run of rows of the file's. The parts then fuse as if the file had held them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from treadle.graph import Node
from treadle.types import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from treadle.graph import Graph
    from treadle.graph.ir import Param
    from treadle.types import Weights

Cut = tuple[str, int, int]
"""Param of the model, first row, end."""


def parted(graph: Graph) -> tuple[Graph, Mapping[str, Cut]]:
    """The graph with a param for each part of a matrix whose product is only split, and where
    those params come from. What cannot be cut is left as it is: a part of several ranks' model, a
    matrix that has other readers."""
    params = dict(graph.params)
    cuts: dict[str, Cut] = {}
    made: dict[int, list[Node]] = {}
    for node in graph.nodes:
        source = graph.producers.get(node.inputs[0]) if node.op == "split" else None
        if source is not None and _divisible(graph, source):
            made[graph.producers[node.outputs[0]]] = _parts(graph, source, node, params, cuts)
            made[source] = []
    if not made:
        return graph, cuts
    nodes = tuple(new for i, node in enumerate(graph.nodes) for new in made.get(i, [node]))
    for name in {name for name, _, _ in cuts.values()}:
        del params[name]
    return replace(graph, nodes=nodes, params=MappingProxyType(params)), cuts


def _divisible(graph: Graph, source: int) -> bool:
    """Whether a split of this node's output is all that its output and its weights are for."""
    node = graph.nodes[source]
    own = [node.outputs[0], *node.inputs[1:]]
    return (
        node.op == "linear"
        and not graph.divided
        and node.outputs[0] not in graph.outputs
        and all(len(graph.readers[name]) == 1 for name in own)
    )


def _parts(
    graph: Graph, source: int, split: Node, params: dict[str, Param], cuts: dict[str, Cut]
) -> list[Node]:
    x, *weights = graph.nodes[source].inputs
    sizes = split.attrs["sizes"]
    assert isinstance(sizes, tuple)
    nodes: list[Node] = []
    first = 0
    for j, (size, out) in enumerate(zip(sizes, split.outputs, strict=True)):
        end = first + (graph.dims.size(size) or 0)
        names = [f"{name}.{j}" for name in weights]
        for name, whole in zip(names, weights, strict=True):
            old = graph.params[whole]
            params[name] = replace(old, name=name, shape=(size, *old.shape[1:]))
            cuts[name] = (whole, first, end)
        nodes.append(Node("linear", (x, *names), (out,), graph.nodes[source].attrs))
        first = end
    return nodes


class PartedWeights(Mapping[str, Tensor]):
    """Weights of a model with those of its parted graph: rows of the same memory. `formats` is that
    of the weights, where they have it."""

    def __init__(self, weights: Weights, cuts: Mapping[str, Cut]) -> None:
        self._weights, self._cuts = weights, cuts
        known: Mapping[str, str] = getattr(weights, "formats", {})
        ours = {name: known[whole] for name, (whole, _, _) in cuts.items() if whole in known}
        self.formats = {**known, **ours}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._cuts:
            return self._weights[name]
        whole, first, end = self._cuts[name]
        return rows_of(self._weights[whole], first, end, name)

    def __iter__(self) -> Iterator[str]:
        return iter({**dict.fromkeys(self._weights), **dict.fromkeys(self._cuts)})

    def __len__(self) -> int:
        return len(self._weights) + len(self._cuts)


def rows_of(tensor: Tensor, first: int, end: int, name: str) -> Tensor:
    """Rows first … end of a matrix or a vector, a view. Blocks never cross a row."""
    data: NDArray[Any] = tensor.data[first:end]
    return Tensor(name, (end - first, *tensor.shape[1:]), tensor.format, data)
