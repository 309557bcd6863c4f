"""What kernels are made from: weights on the device, KV pools, and values computed once a step."""

# torch's own annotations are partial, and strict mode reports every gap where it is used.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from treadle.backends.params import size_of, tensor_of
from treadle.backends.torch.attention import Pool
from treadle.models.quant import dequantise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.graph import Graph
    from treadle.kernels.apply import Resolver
    from treadle.types import Weights


class Store:
    """Everything a program keeps on its device. Weights are widened once, then cast to `dtype`.

    Kernels may be made on several threads: widening is the better part of a start.
    """

    def __init__(
        self,
        graph: Graph,
        weights: Weights,
        dtype: Any,
        device: Any,
        resolver: Resolver | None = None,
    ) -> None:
        self.graph, self.dtype, self.device = graph, dtype, device
        self.resolver = resolver
        self.trigs: dict[tuple[str, str, float, int], str] = {}
        self._weights = weights
        self._kept: dict[tuple[str, Any], Future[Any]] = {}
        self._lock = threading.Lock()
        self._pools: dict[str, Pool] = {}
        for name, value in graph.state.items():
            B, K, d = (size_of(graph, entry) for entry in value.shape[2:])
            self._pools[name] = Pool(B, K, d)

    def param(self, name: str, dtype: Any = None) -> Any:
        """Param `name` on the device; the same tensor however often it is asked for."""
        key = (name, dtype or self.dtype)
        with self._lock:
            found = self._kept.get(key)
            mine = Future[Any]() if found is None else None
            if mine is not None:
                self._kept[key] = mine
        if found is not None:
            return found.result()
        assert mine is not None
        try:
            mine.set_result(self._place(self._wide(name), key[1]))
        except Exception as error:
            mine.set_exception(error)
        return mine.result()

    def joined(self, names: Sequence[str], axis: int = 0) -> Any:
        """Params one after the other along an axis, in memory of their own."""
        return self._place(np.concatenate([self._wide(name) for name in names], axis), self.dtype)

    def pool(self, version: str) -> Pool:
        """The KV pool that a version belongs to."""
        return self._pools[self.graph.buffer_of(version)]

    @property
    def pools(self) -> list[Pool]:
        """The KV pools in the order of the graph's states."""
        return [*self._pools.values()]

    def fill_pools(self, pages: int) -> None:
        """Allocates the pools, once it is known what the weights have left. On a GPU there is one
        page more, which no sequence owns: padded rows of a CUDA graph write there."""
        more = 0 if self.device.type == "cpu" else 1
        for pool in self._pools.values():
            pool.fill(pages + more, self.dtype, self.device)

    def width(self, value: str) -> int:
        """Size of the last axis of a value."""
        return size_of(self.graph, self.graph.values[value].shape[-1])

    def trig(self, pos: str, freq: str, mscale: float, d: int) -> str:
        """Name of the cosines and sines of a frequency table, shared by all layers."""
        with self._lock:
            return self.trigs.setdefault((pos, freq, mscale, d), f"$trig{len(self.trigs)}")

    def forget(self) -> None:
        """Lets go of the files' own arrays once every kernel is made."""
        self._weights = {}

    def _wide(self, name: str) -> Any:
        return dequantise(tensor_of(self.graph, self._weights, name))

    def _place(self, array: Any, dtype: Any) -> Any:
        owned = np.require(array, np.float32, ["C", "W"])  # a mapped file is read-only
        return torch.from_numpy(owned).to(self.device, dtype)
