"""A T2 decode plan with random weights on a GPU, and the model it is made from."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from device import CHUNK, Gpu, Step

from treadle.export.expr import evaluate
from treadle.export.lower import tier_gpu
from treadle.graph import Graph
from treadle.models import llama
from treadle.models.rope import Rope
from treadle.models.shape import Shape
from treadle.types import Tensor

PAGE = 16


ONES = np.ones(1 << 20, np.float32).view(np.uint8)


@cache
def _blocks() -> np.ndarray:
    """Random q4_0 blocks of one scale."""
    blocks = np.random.default_rng(1).integers(0, 256, (CHUNK // 18, 18), np.uint8)
    blocks[:, :2] = np.float16(0.05).reshape(1).view(np.uint8)
    return blocks.reshape(-1)


@dataclass(frozen=True)
class Entry:
    format: str
    rows: int
    cols: int


def model(sizes: Mapping[str, int], act: str = "f32") -> tuple[Graph, dict[str, Entry]]:
    """A Llama of these sizes, head apart from the embedding, and its matrices as q4_0."""
    shape = Shape(
        sizes["layers"], sizes["D"], sizes["H"], sizes["K"], sizes["d"], sizes["F"], sizes["V"],
        1e-5, 8192, False,
    )  # fmt: skip
    graph = llama.build(llama.Config(shape, Rope(shape.d, 500_000.0)), act=act, page=PAGE)
    entries: dict[str, Entry] = {}
    for name, param in graph.params.items():
        held = [graph.size(axis) for axis in param.shape]
        entries[name] = Entry("f32" if len(held) == 1 else "q4_0", *([1, *held][-2:]))
    return graph, entries


class BfloatWeights(Mapping[str, Tensor]):
    """The same model in bfloat16, made when asked for from one table of normal values."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        values = np.random.default_rng(0).standard_normal(1 << 20, np.float32) * np.float32(0.015)
        self._table = (values.view(np.uint32) >> 16).astype(np.uint16)

    def __getitem__(self, name: str) -> Tensor:
        shape = tuple(self._graph.size(axis) for axis in self._graph.params[name].shape)
        if len(shape) == 1:
            table = Rope(2 * shape[0], 500_000.0).table()
            return Tensor(
                name, shape, "f32", table if name == "inv_freq" else np.ones(shape, np.float32)
            )
        return Tensor(name, shape, "bf16", np.resize(self._table, shape))

    def __iter__(self) -> Iterator[str]:
        return iter(self._graph.params)

    def __len__(self) -> int:
        return len(self._graph.params)


class Decoder:
    """Buffers, pipelines and bind groups of a plan; one sequence."""

    def __init__(self, gpu: Gpu, shape: Mapping[str, int], context: int) -> None:
        graph, entries = model(shape)
        self.gpu, self._small = gpu, model({**shape, "layers": 1})
        self._held: dict[str, Step] = {}
        self._record = record = tier_gpu("t2", graph, entries, dialect="naga").record
        self.lower()
        pages = -(-context // PAGE) + 2
        self.sizes = {"T": 1, "S": 1, "R": 1, "L": pages, "P": pages, "E": 1}
        self.buffers: dict[str, Any] = {}
        self.weights = 0
        for name, spec in record["buffers"].items():
            buffer = self.buffers[name] = gpu.storage(evaluate(spec["size"], self.sizes))
            if "weights" not in spec:
                continue
            if any(part["tensor"] != "embed" for part in spec["weights"]):
                self.weights += buffer.size
            if spec.get("plane") == "quants":
                gpu.fill(buffer, gpu.noise)
            elif spec.get("plane") == "scales":
                gpu.fill(buffer, gpu.scales)
            elif all(entries[part["tensor"]].rows == 1 for part in spec["weights"]):
                gpu.fill(buffer, ONES)
            else:
                gpu.fill(buffer, _blocks())
        self.run = gpu.uniform({})
        self.kernels = sorted({s["kernel"] for s in record["steps"]["decode"]})
        self.dispatches = len(record["steps"]["decode"]) + len(record["steps"]["sample"])

    def lower(self) -> None:
        """Prints kernels and grids, in the forms of now; buffers stay. All layers have the same."""
        tier = tier_gpu("t2", *self._small, dialect="naga")
        steps = tier.record["steps"]
        self._grids = {s["kernel"]: s["grid"] for s in (*steps["decode"], *steps["sample"])}
        self._texts = _modules(next(iter(tier.files.values())).decode())
        self._held.clear()

    def place(self, context: int) -> None:
        """The step that runs token `context - 1`, its keys before it."""
        pages = -(-context // PAGE)
        at, run = 0, {"T": 1, "S": 1, "R": 1, "L": pages, "P": self.sizes["P"]}
        values = {
            "ids": [1], "pos": [context - 1], "slots": [context - 1], "starts": [0, 1],
            "lens": [context], "rows": [0], "table": list(range(pages)),
        }  # fmt: skip
        words: list[int] = []
        for name, given in values.items():
            run[name] = at
            words += given
            at += len(given)
        queue = self.gpu.queue
        queue.write_buffer(self.buffers["batch"], 0, np.array(words, np.int32))
        draw = np.zeros(16, np.uint32)  # greedy, row 0
        draw[4] = draw[14] = 0xFFFFFFFF  # no mask, no log-probabilities
        queue.write_buffer(self.buffers["draws"], 0, draw)
        from treadle.export.wgsl import RUN

        queue.write_buffer(self.run, 0, np.array([run.get(n, 0) for n in RUN], np.uint32))
        sizes = {**self.sizes, "L": pages}
        self.steps = [
            self._step(f"{name}.{i}", step, sizes)
            for name in ("decode", "sample")
            for i, step in enumerate(self._record["steps"][name])
        ]
        self.names = [s["kernel"] for n in ("decode", "sample") for s in self._record["steps"][n]]

    def gpu_ms(self) -> float:
        """By timestamps around the pass."""
        return round(self.gpu.time(self.steps, 15) * 1e3, 4)

    def without(self, *kernels: str) -> float:
        """GPU milliseconds of the steps whose kernels' names begin otherwise."""
        names = zip(self.steps, self.names, strict=True)
        return round(self.gpu.time([s for s, n in names if not n.startswith(kernels)], 9) * 1e3, 4)

    def queued_ms(self, count: int = 40) -> float:
        """Wall time a step, encoded and submitted ahead, one readback at the end."""
        times: list[float] = []
        for _ in range(2):
            start = time.perf_counter()
            for _ in range(count):
                self.gpu.queue.submit([self.gpu.encode(self.steps)])
            self.gpu.queue.read_buffer(self.buffers["drawn"], 0, 4)
            times.append((time.perf_counter() - start) * 1e3 / count)
        return round(statistics.median(times), 4)

    def readback_ms(self, count: int = 20) -> float:
        """Wall time a step, its token read before the next."""
        start = time.perf_counter()
        for _ in range(count):
            self.gpu.queue.submit([self.gpu.encode(self.steps)])
            self.gpu.queue.read_buffer(self.buffers["drawn"], 0, 4)
        return round((time.perf_counter() - start) * 1e3 / count, 4)

    def profile(self) -> dict[str, float]:
        """Microseconds a dispatch of each kernel, run alone over its own layers' buffers."""
        found: dict[str, float] = {}
        for name in dict.fromkeys(self.names):
            own = [s for s, n in zip(self.steps, self.names, strict=True) if n == name]
            found[f"{name} x{len(own)}"] = round(self.gpu.time(own, 5) * 1e6 / len(own), 2)
        return found

    def free(self) -> None:
        """Gives the memory back."""
        for buffer in self.buffers.values():
            buffer.destroy()

    def _step(self, key: str, step: Mapping[str, Any], sizes: Mapping[str, int]) -> Step:
        if key not in self._held:
            buffers = [self.buffers[name] for name in step["bind"]]
            if self._record["kernels"][step["kernel"]]["uniform"]:
                buffers.append(self.run)
            self._held[key] = self.gpu.step(self._texts[step["kernel"]], buffers, (1, 1, 1))
        x, y, z = (evaluate(text, sizes) for text in self._grids[step["kernel"]])
        return self._held[key]._replace(grid=(x, y, z))


def _modules(text: str) -> dict[str, str]:
    parts = text.split("//# kernel ")[1:]
    return {name: body for name, _, body in (part.partition("\n") for part in parts)}
