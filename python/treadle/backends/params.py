"""The weights of a graph, looked up and checked before anything is computed from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.errors import ModelFormatError, Unsupported

if TYPE_CHECKING:
    from treadle.graph import Graph, Node
    from treadle.types import Tensor, Weights


def size_of(graph: Graph, entry: str | int, pages: int | None = None) -> int:
    """The number behind an entry of a shape; `pages` stands for the pool's P."""
    found = graph.dims.size(entry, None if pages is None else {"P": pages})
    assert found is not None, f"{entry} is known only to a batch"
    return found


def vocab_of(graph: Graph) -> int:
    """Width of a logits row."""
    return size_of(graph, graph.values[graph.outputs[0]].shape[-1])


def tensor_of(graph: Graph, weights: Weights, name: str) -> Tensor:
    """The tensor of param `name`. Raises ModelFormatError if it is missing or has another shape."""
    wanted = tuple(size_of(graph, entry) for entry in graph.params[name].shape)
    return tensor_as(wanted, weights, name, graph.name)


def tensor_as(wanted: tuple[int, ...], weights: Weights, name: str, graph: str) -> Tensor:
    """As `tensor_of`, of a graph of this name."""
    tensor = weights.get(name)
    if tensor is None:
        raise ModelFormatError(
            "the weights lack this tensor",
            at=f"graph {graph}, param {name}",
            hint="load the graph and its weights from the same model",
        )
    if tuple(tensor.shape) != wanted:
        raise ModelFormatError(
            f"shape {tuple(tensor.shape)}, expected {wanted}",
            at=f"graph {graph}, param {name}",
            hint="load the graph and its weights from the same model",
        )
    return tensor


def one_device(graph: Graph) -> Graph:
    """`graph`, verified. Raises GraphError, or Unsupported for one rank's share of a model."""
    if graph.divided:
        ways = max(graph.divided.values())
        raise Unsupported(
            f"this is one rank of {ways}",
            at=f"graph {graph.name}",
            hint="compile the graph as it was before `shard`",
        )
    from treadle.graph import verify  # a start that finds its plans has none to look at

    verify(graph)
    return graph


def constant_attrs(graph: Graph, node: Node) -> dict[str, Any]:
    """The attrs of a node with numbers for dims; -1 for one that only a batch knows."""
    found: dict[str, Any] = {}
    for name, value in node.attrs.items():
        kind = node.declared.attrs[name].kind
        if kind == "dim" and isinstance(value, str | int):
            found[name] = size_of(graph, value)
        elif isinstance(value, tuple):
            sizes = graph.dims.sizes(value)
            found[name] = tuple(-1 if size is None else size for size in sizes)
        else:
            found[name] = value
    return found
