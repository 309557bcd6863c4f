"""One model on the CPU's workers: its plans, weights and KV pages bound together."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from treadle import _core
from treadle.backends.capacity import fit_pages
from treadle.backends.mega.weights import bound
from treadle.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.backends.mega.plans import Bucket
    from treadle.graph import Graph
    from treadle.limits import Limits
    from treadle.mega import Plan
    from treadle.types import Outline, Weights

PAGE = 16
"""Positions of a KV page, as the attention kernel reads it."""


class MegaDevice:
    """Workers that wait for batches. trace: records that each keeps of what it does."""

    def __init__(
        self,
        outline: Outline,
        weights: Weights,
        made: Sequence[Bucket],
        pages: int,
        threads: int,
        isa: str,
        trace: int = 0,
    ) -> None:
        self.page_size, self.vocab, self.pages = outline.page_size, outline.vocab, pages
        self._made = made
        self._buckets = [bucket.rows for bucket in made]
        params = bound(outline, weights, made, threads)
        states = _core.cpu_kv_pages(pages, outline.heads)
        data = [bucket.take() for bucket in made]
        try:
            self.runner = _core.CpuRunner(data, params, states, isa, trace)
        except _core.CoreError as error:  # a head size that no kernel takes, say
            raise Unsupported(
                f"the CPU runtime cannot run this model: {error}", at=f"graph {outline.name}",
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


def pages_of(outline: Outline, limits: Limits, pages: int | None) -> int:
    """KV pages: so many, or what memory suggests. Raises Unsupported for pages of another size."""
    if outline.heads and outline.page_size != PAGE:
        raise Unsupported(
            f"KV pages of {outline.page_size} tokens", at=f"graph {outline.name}",
            hint=f"build the graph with pages of {PAGE}",
        )  # fmt: skip
    return fit_pages(outline.page_size, outline.page_bytes(2), limits, pages)


def parted_matrices(graph: Graph, weights: Weights) -> tuple[Graph, Weights]:
    """Matrices that are split after their product, cut before it."""
    if not any(node.op == "split" for node in graph.nodes):
        return graph, weights
    from treadle.mega.parted import PartedWeights, parted

    graph, cuts = parted(graph)
    return graph, PartedWeights(weights, cuts)
