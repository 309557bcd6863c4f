"""One model on the CPU's workers: its plans, weights and KV pages bound together."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from treadle import _core
from treadle.backends.capacity import choose_pages, page_size
from treadle.backends.mega.plans import buckets
from treadle.backends.mega.weights import bound
from treadle.backends.params import one_device, size_of, vocab_of
from treadle.errors import Unsupported

if TYPE_CHECKING:
    from treadle.graph import Graph
    from treadle.limits import Limits
    from treadle.mega import Plan
    from treadle.types import Weights

PAGE = 16
"""Positions of a KV page, as the attention kernel reads it."""


class MegaDevice:
    """Workers that wait for batches. trace: records that each keeps of what it does."""

    def __init__(
        self,
        graph: Graph,
        weights: Weights,
        limits: Limits,
        pages: int | None,
        threads: int,
        isa: str,
        trace: int = 0,
    ) -> None:
        graph, weights = _parted(one_device(graph), weights)
        self.page_size = page_size(graph)
        if graph.state and self.page_size != PAGE:
            raise Unsupported(
                f"KV pages of {self.page_size} tokens", at=f"graph {graph.name}",
                hint=f"build the graph with pages of {PAGE}",
            )  # fmt: skip
        self.vocab = vocab_of(graph)
        self.pages = choose_pages(graph, limits, pages, item=2)
        self._made = buckets(
            graph, threads=threads, tokens=limits.batch_tokens, slots=limits.sequences,
            context=self.pages * self.page_size,
        )  # fmt: skip
        self._buckets = [made.rows for made in self._made]
        params = bound(graph, weights, self._made, threads)
        states = _core.cpu_kv_pages(self.pages, _heads(graph))
        data = [made.data for made in self._made]
        try:
            self.runner = _core.CpuRunner(data, params, states, isa, trace)
        except _core.CoreError as error:  # a head size that no kernel takes, say
            raise Unsupported(
                f"the CPU runtime cannot run this model: {error}", at=f"graph {graph.name}",
                hint="use backend torch or reference",
            ) from None  # fmt: skip
        self.runner.start()

    def bucket(self, tokens: int) -> int:
        """The plan that a step of so many tokens runs on."""
        return bisect_left(self._buckets, tokens)

    @property
    def plans(self) -> list[Plan]:
        """What the workers execute, a bucket each."""
        return [made.plan for made in self._made]

    def trace(self) -> list[bytes]:
        """Records of each worker and of the host, as `treadle.mega.timeline` reads them; to be
        asked for while no step runs."""
        return [self.runner.trace(number) for number in range(self.runner.workers + 1)]


def _parted(graph: Graph, weights: Weights) -> tuple[Graph, Weights]:
    """Matrices that are split after their product, cut before it."""
    if not any(node.op == "split" for node in graph.nodes):
        return graph, weights
    from treadle.mega.parted import PartedWeights, parted

    graph, cuts = parted(graph)
    return graph, PartedWeights(weights, cuts)


def _heads(graph: Graph) -> list[tuple[int, int]]:
    """KV heads of each layer, and their size."""
    found: list[tuple[int, int]] = []
    for state in graph.state.values():
        heads, size = (size_of(graph, entry) for entry in state.shape[3:])
        found.append((heads, size))
    return found
