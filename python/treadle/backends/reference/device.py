"""The loop over nodes on numpy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.backends.capacity import choose_pages, page_size
from treadle.backends.drawn import HostDrawn, resolve_ids
from treadle.backends.params import constant_attrs, one_device, size_of, tensor_of, vocab_of
from treadle.backends.sampler import sample
from treadle.graph import reference
from treadle.models.quant import dequantise
from treadle.types import Batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.graph import Graph, Node
    from treadle.limits import Limits
    from treadle.types import Mask, SampleBatch, Weights

Arrays = dict[str, Any]


class ReferenceDevice:
    """Nodes in order, each by its reference."""

    def __init__(
        self, graph: Graph, weights: Weights, limits: Limits, pages: int | None = None
    ) -> None:
        self._graph = one_device(graph)
        self._params: Arrays = {
            name: dequantise(tensor_of(graph, weights, name)) for name in graph.params
        }
        self.page_size = page_size(graph)
        self.vocab = vocab_of(graph)
        self.pages = choose_pages(graph, limits, pages, item=4)
        self._state: Arrays = {
            name: np.zeros([size_of(graph, n, self.pages) for n in value.shape], np.float32)
            for name, value in graph.state.items()
        }
        last: dict[str, Node] = {name: node for node in graph.nodes for name in node.inputs}
        self._program = [
            (node, _kernel(graph, node), [name for name in node.inputs if last[name] is node])
            for node in graph.nodes
        ]

    def forward(self, batch: Batch, previous: Any) -> Any:
        """Logits float32 [R, V]."""
        values: Arrays = {name: getattr(batch, name) for name in Batch.__struct_fields__}
        values["ids"] = resolve_ids(batch.ids, previous)
        values |= self._params | self._state
        with np.errstate(all="ignore"):  # what is not finite shows in the status of its row
            for node, kernel, dead in self._program:
                made = kernel(*(values[name] for name in node.inputs))
                several = len(node.outputs) > 1
                values.update(zip(node.outputs, made if several else (made,), strict=True))
                for name in dead:
                    values.pop(name, None)
        return values[self._graph.outputs[0]]

    def sample(self, logits: Any, mask: Mask | None, params: SampleBatch) -> HostDrawn:
        """Draws at once."""
        return HostDrawn(sample(logits, mask, params))


def _kernel(graph: Graph, node: Node) -> Callable[..., Any]:
    attrs = constant_attrs(graph, node)
    compute = reference(node.op)

    def whole(*operands: Any) -> Any:
        return compute(np, *operands, **attrs)

    def rows(ragged: int) -> Callable[..., Any]:
        # A product over one row reduces in the same order whatever other rows there are.
        def each(*operands: Any) -> Any:
            x, rest = operands[:ragged], operands[ragged:]
            if len(x[0]) < 2:
                return whole(*operands)
            parts = [whole(*(a[t : t + 1] for a in x), *rest) for t in range(len(x[0]))]
            return np.concatenate(parts)

        return each

    def attend(q: Any, kv: Any, starts: Any, lens: Any, table: Any) -> Any:
        out = np.empty_like(q)
        one = np.array([0, 1], np.int32)
        for s, length in enumerate(lens):
            first, end = int(starts[s]), int(starts[s + 1])
            for t in range(first, end):
                seen = np.array([length - (end - 1 - t)], np.int32)
                out[t] = whole(q[t : t + 1], kv, one, seen, table[s : s + 1])[0]
        return out

    return {"linear": rows(1), "experts": rows(3), "attention": attend}.get(node.op, whole)
