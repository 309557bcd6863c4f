"""Experts in the persistent kernel, on one H200.

    python benchmarks/mega_moe_h200.py [--rows 1 4] [--layers 48] [--checked 4] [--steps 64]

Qwen3-30B-A3B's shape in bf16 with random weights. --checked: so many layers are compared with the
float32 reference of the graph, teacher-forced, after 1 to 4 steps, and replayed. A rounding may
choose another expert where two logits of the router are close (128 random ones lie 0.08 standard
deviations apart where the eighth is), so the error of a step says less than that of a dense model.
--layers: so many are timed, with the same 512 MB of random numbers over and over: the model and
what the reference needs do not fit the GPU together. The floor counts the matrices of attention and
the head, the experts in use (of several rows: how many are, where all are as likely), the routers,
and the KV. Writes benchmarks/results/mega-h200-moe.json.
"""

from __future__ import annotations

import argparse
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import mega_h200
import mega_tiny
import numpy as np
import torch

from treadle.backends.mega import cuda_pack
from treadle.backends.mega.cuda import Decoder
from treadle.backends.mega.cuda_build import build
from treadle.graph import Graph
from treadle.mega import H200, compile
from treadle.mega.codegen import PAGE, generate
from treadle.mega.codegen_feed import segment
from treadle.mega.codegen_program import Knobs, Program
from treadle.mega.plan import Plan
from treadle.mega.records import Code
from treadle.models import qwen3_moe
from treadle.models.rope import Rope
from treadle.models.shape import Shape

NAME = "Qwen3-30B-A3B"
WORKERS = 128


def graph_of(layers: int) -> Graph:
    """The graph of the first layers, with pages of 64 positions."""
    shape = Shape(layers=layers, D=2048, H=32, K=4, d=128, F=768, V=151936, eps=1e-6,
                  context=32768, tied=False)  # fmt: skip
    sparse = (True,) * layers
    config = qwen3_moe.Config(shape, Rope(128, 1e6), 0, 128, 8, True, sparse, 768)
    return qwen3_moe.build(config, page=PAGE)


def plan_of(graph: Graph, rows: int, context: int) -> Plan:
    """As `mega_h200.Model` plans it."""
    limit = -(-(context + mega_h200.ROOM) // 512) * 512
    return compile(graph, replace(H200, workers=WORKERS), rows=rows, slots=rows, context=limit,
                   segment=segment(rows, limit))  # fmt: skip


def floor_bytes(program: Program, context: int) -> float:
    """What a step reads at least, in bytes."""
    plan = program.plan
    rows, total = plan.shape.rows, 0.0
    for site in plan.sites:
        matrix = sum(site.rows[: site.parts]) * site.k * 2
        if Code(site.op) is Code.LINEAR:
            total += matrix
        elif site.experts:
            used = site.experts * (1 - (1 - site.active / site.experts) ** rows)
            total += used * (matrix if site.act else site.n * site.k * 2)
        elif Code(site.op) is Code.ATTN:
            total += rows * context * site.kv_heads * site.head * 2 * 2
    return total


def checked(args: argparse.Namespace, rows: int) -> dict[str, Any]:
    """Errors after each of four steps, and a replay."""
    graph = graph_of(args.checked)
    model = mega_h200.Model(f"{NAME}/{args.checked}", rows, args.context, args.seed, graph)
    decoder = model.decoder(Knobs())
    steps = [mega_h200.correct(model, decoder, steps) for steps in (1, 2, 3, 4)]
    return {
        "checked_layers": args.checked,
        "replay_identical": all(s["replay_identical"] for s in steps),
        "relative_errors": [round(s["relative_error"], 4) for s in steps],
        "top1": statistics.mean(s["top1"] for s in steps),
    }


@dataclass
class Whole:
    """What `mega_h200.timed` needs of a model, all layers with the same random numbers."""

    decoder: Decoder
    rows: int
    context: int
    table: np.ndarray

    @staticmethod
    def of(program: Program, context: int) -> Whole:
        """A decoder with memory filled on the GPU."""
        shape = program.plan.shape
        pages = shape.rows * (shape.context // PAGE)
        made = Decoder(program, pages=pages)
        noise = torch.empty(1 << 28, dtype=torch.bfloat16, device="cuda").normal_(0, 0.02)
        torch.cuda.synchronize()
        for memory in (made.stream, made.embed, made.kv):
            for at in range(0, memory.size, noise.nbytes):
                memory.copy(noise.data_ptr(), min(noise.nbytes, memory.size - at), at)
        sizes = {p: n for v in program.vectors for p, n in zip(v.params, v.sizes, strict=True)}
        made.pool.put(cuda_pack.pool(program, lambda i: np.ones(sizes[i])))
        table = np.arange(pages, dtype=np.int32).reshape(shape.rows, -1)
        return Whole(made, shape.rows, context, table)


def tiny() -> None:
    """A small model of 8 workers, to be run under compute-sanitizer."""
    shape = Shape(layers=3, D=128, H=4, K=2, d=64, F=96, V=512, eps=1e-5, context=512, tied=False)
    config = qwen3_moe.Config(shape, Rope(64, 1e4), 0, 32, 4, True, (True,) * 3, 96)
    graph = qwen3_moe.build(config, page=PAGE)
    decoder, table = mega_tiny.decoder(graph)
    for _ in range(2):
        decoder.start([(3, 62), (5, 0)], table, 3)
        decoder.wait()
        print(decoder.tokens(3).tolist(), flush=True)


def main() -> None:
    """Compares, then measures, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--layers", type=int, default=48)
    parser.add_argument("--checked", type=int, default=4)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--behind", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dry", action="store_true", help="build the kernels, run nothing")
    parser.add_argument("--tiny", action="store_true", help="for compute-sanitizer")
    args = parser.parse_args()
    if args.tiny:
        tiny()
        return
    whole, few = ([plan_of(graph_of(layers), rows, args.context) for rows in args.rows]
                  for layers in (args.layers, args.checked))  # fmt: skip
    settings = [(plan, Knobs(behind=b)) for plan in whole for b in args.behind]
    programs = [generate(plan, knobs) for plan, knobs in settings]
    with ThreadPoolExecutor(8) as pool:
        logs = list(pool.map(lambda p: build(p.text)[1], [*map(generate, few), *programs]))
    print([line for log in logs for line in log.splitlines() if "Used" in line], flush=True)
    if args.dry:
        return
    torch.cuda.init()
    gbs = mega_h200.read_bandwidth(None)
    print(f"read {gbs:.0f} GB/s", flush=True)
    right: dict[int, dict[str, Any]] = {}
    for rows in args.rows:
        right[rows] = checked(args, rows)
        print(rows, right[rows], flush=True)
        torch.cuda.empty_cache()
    found: list[dict[str, Any]] = []
    for (plan, knobs), program in zip(settings, programs, strict=True):
        rows = plan.shape.rows
        model = Whole.of(program, args.context)
        times = [mega_h200.timed(model, model.decoder, args.steps) for _ in range(args.rounds)]
        us, floor = statistics.median(times), floor_bytes(program, args.context) / gbs / 1e3
        found.append({
            "model": NAME, "batch": rows, "context": args.context, "tp": 1, "quant": "bf16",
            "layers": args.layers, "us_per_step": us, "floor_us": floor,
            "ratio_to_floor": us / floor, "window": knobs.window, "behind": knobs.behind,
            "spread_us": (min(times), max(times)), "steps_a_launch": args.steps, **right[rows],
        })  # fmt: skip
        print(found[-1], flush=True)
        mega_h200.record("mega-h200-moe", found, args.seed, gbs)
        del model


if __name__ == "__main__":
    main()
