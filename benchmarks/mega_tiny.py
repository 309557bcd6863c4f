"""A tiny model in the persistent kernel with numpy alone, small enough for compute-sanitizer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from treadle.backends.mega import cuda_pack
from treadle.backends.mega.cuda import Decoder
from treadle.graph import Graph
from treadle.mega import H200, compile
from treadle.mega.codegen import generate
from treadle.mega.codegen_feed import segment
from treadle.mega.codegen_program import Knobs


def decoder(graph: Graph, rows: int = 2, *, strict: bool = False) -> tuple[Decoder, np.ndarray]:
    """A decoder on eight workers with random weights, and its page table [rows, 4]."""
    plan = compile(graph, replace(H200, workers=8), rows=rows, slots=rows, context=512,
                   segment=segment(rows, 512))  # fmt: skip
    made = Decoder(generate(plan, Knobs(strict=strict)), pages=4 * rows)
    rng = np.random.default_rng(0)
    params = {
        n: rng.standard_normal([n or 0 for n in graph.dims.sizes(p.shape)]).astype(np.float32) * 0.1
        for n, p in graph.params.items()
    }
    made.load(lambda n: cuda_pack.bf16(params[n]), lambda n: params[n])
    made.kv.fill()
    return made, np.arange(4 * rows, dtype=np.int32).reshape(rows, 4)
