"""A T2 decode plan with random weights on a GPU, and the model it is made from."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from device import CHUNK, Gpu, Step

from treadle.export.expr import evaluate
from treadle.export.lower import tier_gpu
from treadle.export.wgsl import RUN
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


def fill_of(spec: Mapping[str, Any], entries: Mapping[str, Entry]) -> str | None:
    """What a buffer of a plan is filled with: noise, scales, ones, blocks, or nothing."""
    if "weights" not in spec:
        return None
    if "plane" in spec:
        return "noise" if spec["plane"] == "quants" else "scales"
    ones = all(entries[part["tensor"]].rows == 1 for part in spec["weights"])
    return "ones" if ones else "blocks"


def batch_of(context: int) -> tuple[list[int], dict[str, int]]:
    """Words of `batch` for the step that runs token `context - 1` of one sequence, its keys before
    it, and where each of its parts begins."""
    values = {
        "ids": [1], "pos": [context - 1], "slots": [context - 1], "starts": [0, 1],
        "lens": [context], "rows": [0], "table": list(range(-(-context // PAGE))),
    }  # fmt: skip
    words: list[int] = []
    parts: dict[str, int] = {}
    for name, given in values.items():
        parts[name] = len(words)
        words += given
    return words, parts


def sizes_of(context: int) -> dict[str, int]:
    """Capacities of a plan for one sequence of so many tokens."""
    pages = -(-context // PAGE) + 2
    return {"T": 1, "S": 1, "R": 1, "L": pages, "P": pages, "E": 1}


DRAW = [0] * 4 + [0xFFFFFFFF] + [0] * 9 + [0xFFFFFFFF, 0]
"""A greedy draw of row 0: no mask, no log-probabilities."""


def steps_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The dispatches of a token."""
    return [*record["steps"]["decode"], *record["steps"]["sample"]]


class Decoder:
    """Buffers, pipelines and bind groups of a plan; one sequence."""

    def __init__(self, gpu: Gpu, shape: Mapping[str, int], context: int) -> None:
        graph, entries = model(shape)
        self.gpu, self._small = gpu, model({**shape, "layers": 2})
        self._held: dict[str, Step] = {}
        self._record = record = tier_gpu("t2", graph, entries, dialect="naga").record
        self.lower()
        self.sizes = sizes_of(context)
        self.buffers: dict[str, Any] = {}
        self.weights = 0
        fills = {"noise": gpu.noise, "scales": gpu.scales, "ones": ONES, "blocks": _blocks()}
        for name, spec in record["buffers"].items():
            buffer = self.buffers[name] = gpu.storage(evaluate(spec["size"], self.sizes))
            if (fill := fill_of(spec, entries)) is None:
                continue
            if any(part["tensor"] != "embed" for part in spec["weights"]):
                self.weights += buffer.size
            gpu.fill(buffer, fills[fill])
        self.run = gpu.uniform({})
        self.kernels = sorted({s["kernel"] for s in record["steps"]["decode"]})
        self.dispatches = len(steps_of(record))

    def lower(self) -> None:
        """Prints kernels and grids, in the forms of now; buffers stay. All layers but the first
        have the same."""
        tier = tier_gpu("t2", *self._small, dialect="naga")
        steps = tier.record["steps"]
        self._grids = {s["kernel"]: s["grid"] for s in (*steps["decode"], *steps["sample"])}
        self._texts = modules(next(iter(tier.files.values())).decode())
        self._held.clear()

    def place(self, context: int) -> None:
        """The step that runs token `context - 1`, its keys before it."""
        pages = -(-context // PAGE)
        words, parts = batch_of(context)
        run = {"T": 1, "S": 1, "R": 1, "L": pages, "P": self.sizes["P"], **parts}
        queue = self.gpu.queue
        queue.write_buffer(self.buffers["batch"], 0, np.array(words, np.int32))
        queue.write_buffer(self.buffers["draws"], 0, np.array(DRAW, np.uint32))
        queue.write_buffer(self.run, 0, np.array([run.get(n, 0) for n in RUN], np.uint32))
        sizes = {**self.sizes, "L": pages}
        listed = steps_of(self._record)
        self.steps = [self._step(str(i), step, sizes) for i, step in enumerate(listed)]
        self.names = [step["kernel"] for step in listed]

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

    def projections(self) -> dict[str, list[int]]:
        """Name -> its steps' places, the first layer's left out, whose input is not packed."""
        layer = ("qkv", "attention", "o", "gate_up", "down")
        last = len(self._record["steps"]["decode"]) - 1
        found = {
            name: list(range(1 + len(layer) + at, last, len(layer)))
            for at, name in enumerate(layer) if name != "attention"
        }  # fmt: skip
        return found | {"head": [last]}

    def weights_of(self, place: int) -> list[Any]:
        """Quants and scales that a step reads."""
        bind = steps_of(self._record)[place]["bind"]
        return [self.buffers[name] for name in bind if name.endswith((".quants", ".scales"))]

    def apart(self, place: int, weights: Sequence[Any]) -> Step:
        """A step over other weights that writes buffers of its own: it waits for no other."""
        step = steps_of(self._record)[place]
        reads = [name for name in step["bind"] if name.endswith((".quants", ".scales"))]
        held = dict(zip(reads, weights, strict=True))
        held |= {name: self.gpu.storage(self.buffers[name].size) for name in step["writes"]}
        buffers = [held.get(name, self.buffers[name]) for name in step["bind"]]
        if self._record["kernels"][step["kernel"]]["uniform"]:
            buffers.append(self.run)
        return self.gpu.step(self._texts[step["kernel"]], buffers, self.steps[place].grid)

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


def modules(text: str) -> dict[str, str]:
    """Kernels of a file by name."""
    parts = text.split("//# kernel ")[1:]
    return {name: body for name, _, body in (part.partition("\n") for part in parts)}
