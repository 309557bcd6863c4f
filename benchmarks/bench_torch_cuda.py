"""Decode steps of the torch backend on a GPU against the time that reading the weights takes.

Random weights in the shape of Llama-3.2-1B, bfloat16; forward and greedy draw through the
`Executable`, without the engine. The limit is weight and KV bytes over the bandwidth of a
device-to-device copy.

    python benchmarks/bench_torch_cuda.py [--batches 1,16] [--context 1024] [--steps 50]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from machine import machine, spread, versions, write

from treadle.backends.table import backend
from treadle.graph import Graph
from treadle.limits import Limits
from treadle.models import llama
from treadle.models.rope import Rope
from treadle.models.shape import Shape
from treadle.types import Batch, SampleBatch, Tensor

SHAPE = Shape(16, 2048, 32, 8, 64, 8192, 128_256, 1e-5, 131_072, True)
PAGE = 16


class RandomWeights(Mapping[str, Tensor]):
    """Normal values of a plausible size, made when asked for."""

    def __init__(self, graph: Graph, seed: int) -> None:
        self._graph = graph
        self._seed = seed

    def __getitem__(self, name: str) -> Tensor:
        param = self._graph.params[name]
        shape = tuple(self._graph.size(axis) for axis in param.shape)
        rng = np.random.default_rng([self._seed, *name.encode()])
        if name == "inv_freq":
            data = Rope(SHAPE.d, 500_000.0).table()
        elif "norm" in name:
            data = np.ones(shape, np.float32)
        else:
            data = rng.standard_normal(shape, np.float32) * np.float32(shape[-1] ** -0.5)
        return Tensor(name, shape, "f32", data)

    def __iter__(self) -> Iterator[str]:
        return iter(self._graph.params)

    def __len__(self) -> int:
        return len(self._graph.params)


def copy_bandwidth() -> float:
    """Bytes a second, read plus written, of a large device-to-device copy; median of 20."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    times: list[float] = []
    for _ in range(20):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return 2 * source.nbytes / statistics.median(times)


def greedy(rows: int) -> SampleBatch:
    """Parameters of `rows` greedy draws."""
    zeros, empty = np.zeros(rows, np.float32), np.zeros(0, np.int32)
    ptr = np.zeros(rows + 1, np.int32)
    return SampleBatch(
        zeros,
        np.zeros(rows, np.int32),
        np.ones(rows, np.float32),
        zeros,
        zeros,
        zeros,
        np.ones(rows, np.float32),
        np.zeros(rows, np.uint64),
        np.zeros(rows, np.int32),
        np.full(rows, -1, np.int32),
        ptr,
        empty,
        np.zeros(0, np.float32),
        ptr,
        empty,
        empty,
    )


def decode_batch(sequences: int, length: int, first: bool) -> Batch:
    """One decode step of `sequences` sequences that will hold `length` tokens."""
    pages = -(-length // PAGE)
    table = np.arange(sequences * pages, dtype=np.int32).reshape(sequences, pages)
    position = np.full(sequences, length - 1, np.int32)
    ids = np.arange(sequences, dtype=np.int32)
    return Batch(
        ids=ids if first else -1 - ids,
        pos=position,
        slots=table[:, -1] * PAGE + (length - 1) % PAGE,
        starts=np.arange(sequences + 1, dtype=np.int32),
        lens=np.full(sequences, length, np.int32),
        table=table,
        rows=np.arange(sequences, dtype=np.int32),
    )


def main() -> None:
    """Measures each batch size and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", default="1,4,16")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    graph = llama.build(llama.Config(SHAPE, Rope(SHAPE.d, 500_000.0)), act="bf16", page=PAGE)
    weights = RandomWeights(graph, args.seed)
    bandwidth = copy_bandwidth()
    sizes = [int(text) for text in args.batches.split(",")]
    pages = max(sizes) * (-(-(args.context + args.steps + 8) // PAGE) + 1)
    exe = backend("torch", device="cuda", dtype="bf16").compile(
        graph, weights, Limits(), pages=pages
    )
    bytes_weights = sum(
        2 * int(np.prod([graph.size(a) for a in p.shape])) for p in graph.params.values()
    )
    rows = []
    for sequences in sizes:
        times: list[float] = []
        for step in range(args.steps + 5):
            batch = decode_batch(sequences, args.context + step, step == 0)
            start = time.perf_counter()
            exe.sample(exe.forward(batch), None, greedy(sequences)).wait()
            if step >= 5:
                times.append((time.perf_counter() - start) * 1e3)
        kv = sequences * args.context * SHAPE.layers * 2 * SHAPE.K * SHAPE.d * 2
        limit = (bytes_weights + kv) / bandwidth * 1e3
        rows.append({"batch": sequences, "step_ms": spread(times), "limit_ms": round(limit, 4)})
        rows[-1]["step_ms"].pop("values")
        print(rows[-1])
    exe.close()
    figures = {
        "what": "decode step, torch backend, bf16, random weights of Llama-3.2-1B's shape",
        "context": args.context,
        "copy_gb_s": round(bandwidth / 1e9, 1),
        "steps": rows,
        "gpu": torch.cuda.get_device_name(),
        "seed": args.seed,
        "machine": machine(),
        "versions": versions("torch", "numpy"),
    }
    print(write("torch_cuda", figures))


if __name__ == "__main__":
    main()
