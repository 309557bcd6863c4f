"""The torch device: a compiled program, its KV pools, and the draw."""

# torch's own annotations are partial, and strict mode reports every gap where it is used.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from treadle.backends import sampler
from treadle.backends.capacity import choose_pages, page_size
from treadle.backends.params import vocab_of
from treadle.backends.torch import own
from treadle.backends.torch.attention import Plan
from treadle.backends.torch.draw import DeviceDrawn, draw
from treadle.backends.torch.graphs import UNCAPTURABLE, Graphs
from treadle.backends.torch.program import compile_program
from treadle.backends.torch.weights import Store
from treadle.errors import KernelError

if TYPE_CHECKING:
    from treadle.backends.stream import Drawn
    from treadle.graph import Graph
    from treadle.kernels.apply import Resolver
    from treadle.limits import Limits
    from treadle.types import Batch, Mask, SampleBatch, Sampled, Weights

_GIVEN = ("ids", "pos")
_log = logging.getLogger("treadle.backends.torch")


class HostDrawn:
    """Tokens drawn on the host. `ids` int64 [R] for the next step."""

    __slots__ = ("_sampled", "ids")

    def __init__(self, sampled: Sampled) -> None:
        self._sampled = sampled
        self.ids = torch.from_numpy(sampled.ids.astype(np.int64))

    def collect(self) -> Sampled:
        """The tokens; nothing is left to wait for."""
        return self._sampled


class TorchDevice:
    """One model on one device. Every call comes from the same worker thread."""

    def __init__(
        self,
        graph: Graph,
        weights: Weights,
        limits: Limits,
        pages: int | None,
        device: torch.device,
        dtype: torch.dtype,
        resolver: Resolver | None = None,
        *,
        graphs: bool = True,
    ) -> None:
        self._device, self._dtype = device, dtype
        self.page_size = page_size(graph)
        self.vocab = vocab_of(graph)
        store = Store(graph, weights, dtype, device, resolver)
        with torch.inference_mode():
            fused, self._program = compile_program(graph, store, _GIVEN)
            store.forget()
            free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
            self.pages = choose_pages(graph, limits, pages, item=dtype.itemsize, free=free)
            store.fill_pools(self.pages)
            self._pools = store.pools
            self._graphs, self._unused = None, "not asked for"
            if graphs:
                self._unused = _no_graphs(fused, device, resolver)
            if not self._unused:
                self._graphs = Graphs(
                    lambda *given: self._program.run(given),
                    device,
                    most=limits.sequences,
                    pages=self.pages,
                    page_size=self.page_size,
                    bin=self.pages * self.page_size,
                    resolver=resolver,
                )
            elif device.type == "cuda":
                _log.info("no CUDA graphs: %s", self._unused)

    def forward(self, batch: Batch, previous: Any) -> Any:
        """Logits float32 [R, V]."""
        with torch.inference_mode():
            if self._graphs is not None:
                logits = self._graphs.step(batch, previous)
                if logits is not None:
                    return logits
            plan = Plan(batch, self.page_size, self._dtype, self._device)
            ids = plan.put(batch.ids)
            if previous is not None:
                # A row that drew nothing gives token 0: its sequence has failed already.
                named = previous.index_select(0, (-1 - ids).clamp_(min=0)).clamp_(min=0)
                ids = torch.where(ids < 0, named, ids)
            try:
                logits = self._program.run((plan, ids, plan.put(batch.pos)))
            except RuntimeError as error:
                raise KernelError(f"forward: {error}", hint="see the log of the device") from error
            return logits.float()

    def sample(self, logits: Any, mask: Mask | None, params: SampleBatch) -> Drawn:
        """On the host row by row, on a GPU all rows at once."""
        with torch.inference_mode():
            if self._device.type == "cpu":
                return HostDrawn(sampler.sample(logits.numpy(), mask, params))
            if self._graphs is not None:
                found = self._graphs.greedy(logits, mask, params)
                if found is not None:
                    return found
            drawn: DeviceDrawn = draw(logits, mask, params)
            return drawn

    def kv(self) -> list[tuple[Any, Any]]:
        """Keys and values of each state in the graph's order, [P, B, K, d]."""
        return [pool.paged() for pool in self._pools]

    def stats(self) -> dict[str, Any]:
        """Steps replayed, graphs captured, steps without a graph by reason; or why there are no
        graphs at all."""
        if self._graphs is None:
            return {"graphs": self._unused}
        return {"graphs": dict(self._graphs.counts)}


def _no_graphs(graph: Graph, device: torch.device, resolver: Resolver | None) -> str:
    """Why no step of this program can be captured; empty if steps can."""
    if device.type != "cuda":
        return f"the device is {device.type}"
    if not own.fits(device):
        return "triton is not installed"
    if resolver is not None and not hasattr(resolver, "epoch"):
        return "calls are being recorded"
    held = sorted({node.op for node in graph.nodes} & UNCAPTURABLE)
    return f"{held[0]} reads sizes from the device" if held else ""
