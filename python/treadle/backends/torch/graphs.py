"""Decode steps as CUDA graphs: one graph a size of batch, inputs in buffers that stay.

A step in which every sequence has one query and wants its logits is padded to a power of two and
replayed; any other step runs as before, and is counted with the reason. One copy to the device
carries a whole step: ids, positions, slots and lengths are the first rows of one array, and the
page tables, transposed, the rest of it, so that what a step uses is contiguous. Padded rows have
no tokens, and write into a page of the pool that no sequence owns.
"""

# torch's own annotations are partial, and strict mode reports every gap where it is used.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from treadle.backends.sampler import NOT_FINITE
from treadle.types import Sampled

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.backends.torch.attention import Decoding, Pool
    from treadle.kernels.apply import Resolver
    from treadle.types import Batch, Mask, SampleBatch

_log = logging.getLogger("treadle.backends.torch")

_HEAD = 4  # rows of a step's array before its page tables: ids, positions, slots, lengths
_WIDEST = 1 << 17  # tokens of a sequence whose page table fits the buffers
_WARM = 2  # runs before a capture: what is compiled or allocated once must be by then
UNCAPTURABLE = frozenset({"experts", "route_experts"})
"""Ops whose kernels here ask the device for sizes."""


class Static:
    """A step's index tensors in place, as `attention.Plan` has them."""

    rows: Any = None
    decoding: Decoding | None = None

    def __init__(self, batch: int, width: int, device: Any) -> None:
        self.meta = torch.zeros((_HEAD + width, batch), dtype=torch.int32, device=device)
        self.ids, self.pos, self.slots = (
            torch.zeros(batch, dtype=torch.int64, device=device) for _ in range(3)
        )

    def attend(self, q: Any, pool: Pool, scale: float, window: int, cap: float) -> Any:
        """q [S, H, d] against the pool → [S, H, d]."""
        from treadle.backends.torch.attend_triton import attend

        return attend(q, pool, self.meta[_HEAD:].t(), self.meta[3], scale, window, cap)


class Captured:
    """A graph, its inputs, its logits [B, V], and `drawn` int32 [2, B]: greedy tokens, status."""

    __slots__ = ("drawn", "epoch", "graph", "logits", "static")

    def __init__(self, static: Static, graph: Any, made: tuple[Any, Any], epoch: int) -> None:
        self.static, self.graph, self.epoch = static, graph, epoch
        self.logits, self.drawn = made


class GreedyDrawn:
    """Tokens that the graph drew. `ids` int64 [R] stays on the device for the next step."""

    __slots__ = ("_event", "_host", "_rows", "ids")

    def __init__(self, drawn: Any, rows: int) -> None:
        self.ids = drawn[0, :rows].long()
        self._rows = rows
        self._host = torch.empty(drawn.shape, dtype=torch.int32, pin_memory=True)
        self._host.copy_(drawn, non_blocking=True)
        self._event = torch.cuda.Event()
        self._event.record(torch.cuda.current_stream(drawn.device))

    def collect(self) -> Sampled:
        """The tokens, once the device has written them."""
        self._event.synchronize()
        ids, status = self._host[:, : self._rows].numpy()
        R = self._rows
        empty = np.full((R, 0), -1, np.int32), np.full((R, 0), np.nan, np.float32)
        return Sampled(ids, status.astype(np.uint8), np.full(R, np.nan, np.float32), *empty)


class Graphs:
    """The graphs of one program. All calls come from the worker thread of its device.

    body: (plan, ids, positions) → logits [T, V], on the current stream. most: sequences a step may
    have. bin: a slot that nobody reads. counts: steps replayed, graphs captured, and steps run
    without one, by reason.
    """

    def __init__(
        self,
        body: Callable[[Any, Any, Any], Any],
        device: Any,
        *,
        most: int,
        pages: int,
        page_size: int,
        bin: int,
        resolver: Resolver | None,
    ) -> None:
        self._body, self._device, self._bin = body, device, bin
        self._most, self._resolver = most, resolver
        self._width = max(1, min(pages, _WIDEST // page_size))
        self._previous = torch.zeros(max(1, most), dtype=torch.int64, device=device)
        self._captured: dict[int, Captured] = {}
        self._failed: dict[int, str] = {}
        self._pool: Any = None
        self._last: tuple[Any, Captured, int] | None = None
        self.counts: Counter[str] = Counter()

    def step(self, batch: Batch, previous: Any) -> Any:
        """Logits float32 [R, V] of a step, or None where it cannot be replayed."""
        self._last = None
        reason = self._reason(batch, previous)
        size = 1 << (len(batch.lens) - 1).bit_length()
        one = None if reason else self._ready(size)
        if one is None:
            self._eager(reason or self._failed[size])
            return None
        rows = len(batch.lens)
        if previous is not None:
            self._previous[: len(previous)].copy_(previous)
        self._fill(one.static.meta, batch)
        one.graph.replay()
        self.counts["replayed"] += 1
        logits = one.logits[:rows].float()
        self._last = logits, one, rows
        return logits if logits is not one.logits else logits.clone()

    def greedy(self, logits: Any, mask: Mask | None, params: SampleBatch) -> GreedyDrawn | None:
        """The tokens that the last replay drew, where `logits` are its own and nothing asks for
        more than the likeliest token."""
        last = self._last
        if last is None or last[0] is not logits or (mask is not None and len(mask.rows)):
            return None
        asked = (params.temperature > 0).any() or (params.logprobs >= 0).any()
        if asked or len(params.bias_ids) or len(params.pen_ids):
            return None
        return GreedyDrawn(last[1].drawn, last[2])

    def _reason(self, batch: Batch, previous: Any) -> str:
        S = len(batch.lens)
        if len(batch.ids) != S or len(batch.rows) != S:
            return "not every sequence has one query and wants its logits"
        if self._most < S:
            return f"more than {self._most} sequences"
        if batch.table.shape[1] > self._width:
            return f"a page table of more than {self._width} pages"
        if previous is not None and len(previous) > len(self._previous):
            return "more tokens drawn than sequences allowed"
        return ""

    def _epoch(self) -> int:
        """Rises whenever a measured kernel comes in or goes out."""
        return getattr(self._resolver, "epoch", 0)

    def _ready(self, size: int) -> Captured | None:
        one, epoch = self._captured.get(size), self._epoch()
        if one is not None and one.epoch == epoch:
            return one
        if one is None and size in self._failed:
            return None
        try:
            if one is None:
                static = Static(size, self._width, self._device)
                static.meta[2].fill_(self._bin)
            else:  # a kernel came or went; the buffers stay
                static = one.static
                self._captured.pop(size)
            self._captured[size] = Captured(static, *self._capture(static), epoch)
        except Exception as error:
            # Nothing that a capture met may end the step: it runs as it would have without.
            self._failed[size] = f"no capture: {type(error).__name__}: {str(error)[:200]}"
            return None
        self.counts["captured"] += 1
        return self._captured[size]

    def _capture(self, static: Static) -> tuple[Any, tuple[Any, Any]]:
        stream = torch.cuda.Stream(self._device)
        current = torch.cuda.current_stream(self._device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for _ in range(_WARM):
                self._run(static)
        current.wait_stream(stream)
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # Other threads may build kernels meanwhile: their calls are none of this capture's.
        with torch.cuda.graph(
            graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"
        ):
            made = self._run(static)
        return graph, made

    def _run(self, static: Static) -> tuple[Any, Any]:
        from treadle.backends.torch.decode_triton import greedy, unpack

        unpack(static.meta, self._previous, static.ids, static.pos, static.slots)
        logits = self._body(static, static.ids, static.pos)
        return logits, greedy(logits, NOT_FINITE)

    def _fill(self, meta: Any, batch: Batch) -> None:
        """One copy, of the rows that this step uses."""
        S, size, width = len(batch.lens), meta.shape[1], batch.table.shape[1]
        host = torch.empty((_HEAD + width, size), dtype=torch.int32, pin_memory=True)
        rows = host.numpy()
        rows[:, S:] = 0
        rows[2, S:] = self._bin
        rows[0, :S], rows[1, :S] = batch.ids, batch.pos
        rows[2, :S], rows[3, :S] = batch.slots, batch.lens
        rows[_HEAD:, :S] = batch.table.T
        meta[: _HEAD + width].copy_(host, non_blocking=True)

    def _eager(self, reason: str) -> None:
        if reason not in self.counts:
            _log.info("a step runs without a CUDA graph: %s", reason)
        self.counts[reason] += 1
