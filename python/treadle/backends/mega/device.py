"""One model on the CPU's workers: posts batches, reads logits, hands back what was drawn."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle import _core
from treadle.backends.capacity import choose_pages, page_size
from treadle.backends.drawn import HostDrawn, resolve_ids
from treadle.backends.mega.plans import plans
from treadle.backends.mega.weights import bound
from treadle.backends.params import one_device, size_of, vocab_of
from treadle.backends.sampler import sample
from treadle.errors import EngineDead, Unsupported
from treadle.mega import to_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from treadle.graph import Graph
    from treadle.limits import Limits
    from treadle.types import Batch, Mask, SampleBatch, Weights

PAGE = 16
"""Positions of a KV page, as the attention kernel reads it."""


@dataclass(frozen=True, slots=True)
class Logits:
    """float32 [R, V] of one step, a copy."""

    step: int
    array: NDArray[np.float32]


class MegaDevice:
    """Plans, packed weights and KV pages bound to workers that wait for batches."""

    def __init__(
        self,
        graph: Graph,
        weights: Weights,
        limits: Limits,
        pages: int | None,
        threads: int,
        isa: str,
    ) -> None:
        graph = one_device(graph)
        self.page_size = page_size(graph)
        if graph.state and self.page_size != PAGE:
            raise Unsupported(
                f"KV pages of {self.page_size} tokens", at=f"graph {graph.name}",
                hint=f"build the graph with pages of {PAGE}",
            )  # fmt: skip
        self.vocab = vocab_of(graph)
        self.pages = choose_pages(graph, limits, pages, item=2)
        made = plans(
            graph, threads=threads, tokens=limits.batch_tokens, slots=limits.sequences,
            context=self.pages * self.page_size,
        )  # fmt: skip
        self._buckets = [plan.shape.rows for plan in made]
        params = bound(graph, weights, made, threads)
        states = [_pages(graph, name, self.pages) for name in graph.state]
        self._runner = _core.CpuRunner([to_bytes(plan) for plan in made], params, states, isa)
        self._runner.start()
        self._open: int | None = None  # a step whose tokens are not settled yet

    def forward(self, batch: Batch, previous: Any) -> Logits:
        """Runs a step up to its logits."""
        self._settle(None)
        ids = resolve_ids(batch.ids, previous).astype(np.int32, copy=False)
        bucket = bisect_left(self._buckets, len(ids))
        step = self._runner.post(
            bucket, ids, batch.pos, batch.slots, batch.starts, batch.lens, batch.table, batch.rows
        )
        if not len(batch.rows):
            self._ended(self._runner.wait_done(step))
            return Logits(step, np.empty((0, self.vocab), np.float32))
        self._ended(self._runner.wait_logits(step))
        self._open = step
        return Logits(step, self._runner.logits(step).copy())

    def sample(self, logits: Logits, mask: Mask | None, params: SampleBatch) -> HostDrawn:
        """Draws at once."""
        drawn = sample(logits.array, mask, params)
        if logits.step == self._open:
            self._settle(drawn.ids)
        return HostDrawn(drawn)

    def _settle(self, ids: NDArray[np.int32] | None) -> None:
        """Ends the open step; the workers keep its tokens, 0 where there is none."""
        if self._open is None:
            return
        rows = len(self._runner.logits(self._open))
        given = np.zeros(rows, np.int32) if ids is None else np.maximum(ids, 0)
        self._runner.bind(given=given)
        self._ended(self._runner.wait_done(self._open))
        self._open = None

    def _ended(self, whole: bool) -> None:
        if not whole:
            raise EngineDead("the workers were stopped", hint="compile the model again")


def _pages(graph: Graph, name: str, pages: int) -> NDArray[np.uint16]:
    """KV pages of one layer: float16 bits [pages, heads, 2 · page · size], K before V."""
    heads, size = (size_of(graph, entry) for entry in graph.state[name].shape[3:])
    return np.zeros((pages, heads, 2 * PAGE * size), np.uint16)
