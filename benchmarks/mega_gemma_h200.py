"""Gemma's shapes, windows and long contexts in the persistent kernel, on one H200.

    python benchmarks/mega_gemma_h200.py [--cases gemma-3-1b,1,1024 ...] [--baseline FILE]
        [--rounds 7] [--steps 64] [--seconds 200]

A case is model, rows, context. For each: random weights, teacher-forced logits against the float32
reference of the graph, two replays that must agree bit for bit, and the time of a step.
--baseline: see mega_h200.py, for the cases of --compare; its decoder has neither norms behind
branches nor windows and soft caps, so it does less than the model asks for. Writes
benchmarks/results/mega-h200-gemma.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from mega_h200 import Model, baseline, correct, graph_of, read_bandwidth, record, script, timed

from treadle.graph import Graph
from treadle.mega.codegen import PAGE
from treadle.mega.codegen_program import Knobs
from treadle.models import gemma2, gemma3, mistral
from treadle.models.rope import Rope
from treadle.models.shape import Shape

SIZES = {  # layers, D, H, K, d, F, V, window
    "gemma-2-2b": (26, 2304, 8, 4, 256, 9216, 256_000, 4096),
    "gemma-3-1b": (26, 1152, 4, 1, 256, 6912, 262_144, 512),
    "mistral-7b": (32, 4096, 32, 8, 128, 14336, 32_000, 4096),
    "gemma-2-tiny": (4, 512, 8, 4, 64, 2048, 4096, 700),
    "gemma-3-tiny": (7, 576, 8, 2, 256, 2080, 4096, 300),
}
CASES = (
    "gemma-2-tiny,1,1024", "gemma-3-tiny,2,1024", "gemma-2-tiny,9,1024", "gemma-3-1b,1,1024",
    "gemma-2-2b,1,1024", "Llama-3.2-1B,1,32256", "gemma-2-2b,1,6144", "gemma-3-1b,4,1024",
    "gemma-2-2b,16,1024",
    "gemma-3-1b,1,32256", "mistral-7b,1,6144",
)  # fmt: skip


def made(name: str) -> Graph:
    """The graph of a model's shape, with pages of 64 positions."""
    if name not in SIZES:
        return graph_of(name)
    layers, width, heads, kv, d, ffn, vocab, window = SIZES[name]
    shape = Shape(layers=layers, D=width, H=heads, K=kv, d=d, F=ffn, V=vocab, eps=1e-6,
                  context=32768, tied=not name.startswith("mistral"))  # fmt: skip
    if name.startswith("mistral"):
        return mistral.build(mistral.Config(shape, Rope(d, 1e4), window), page=PAGE)
    if name.startswith("gemma-2"):
        windows = tuple(0 if i % 2 else window for i in range(layers))
        config = gemma2.Config(shape, Rope(d, 1e4), windows, d**-0.5, 50.0, 30.0)
        return gemma2.build(config, page=PAGE)
    windows = tuple(0 if i % 6 == 5 else window for i in range(layers))
    ropes = Rope(d, 1e6), Rope(d, 1e4)
    return gemma3.build(gemma3.Config(shape, *ropes, windows, d**-0.5, 0.0), page=PAGE)


class Windowed(Model):
    """A model whose layers see different numbers of positions and may have a table of their own."""

    def __init__(self, case: str, seed: int) -> None:
        name, rows, context = case.split(",")
        super().__init__(name, int(rows), int(context), seed, made(name))
        for key, x in self.params.items():
            if key == "inv_freq_local":
                self.params[key] = 1e4 ** (-torch.arange(len(x), device="cuda") / len(x))

    def bytes_a_step(self) -> int:
        whole = self.rows * self.context * self.kv[0, 0, :, :, 0].nbytes
        seen = [min(s.window or self.context, self.context) for s in self.plan.sites if s.op == 5]
        read = whole * sum(seen) // self.context
        return super().bytes_a_step() - whole * len(self.kv) + read


def measured(args: argparse.Namespace, model: Windowed, gbs: float) -> dict[str, Any]:
    """One row of the result, without its peers."""
    decoder = model.decoder(Knobs())
    checked = correct(model, decoder, 4)
    model.reset(decoder)
    rounds = [timed(model, decoder, args.steps) for _ in range(args.rounds)]
    us, floor = statistics.median(rounds), model.bytes_a_step() / gbs / 1e3
    return {
        "model": model.name, "batch": model.rows, "context": model.context, "tp": 1,
        "quant": "bf16", "us_per_step": us, "floor_us": floor, "ratio_to_floor": us / floor,
        "best_kernel_per_op": "", "best_kernel_per_op_us": None, "speedup": None,
        "spread_us": (min(rounds), max(rounds)), "steps_a_launch": args.steps, **checked,
    }  # fmt: skip


def key_of(row: dict[str, Any]) -> str:
    """The case of a row."""
    return f"{row['model']},{row['batch']},{row['context']}"


def compared(args: argparse.Namespace, row: dict[str, Any]) -> None:
    """Puts the best variant of the baseline's decoder of these sizes beside a row."""
    name = row["model"]
    if name in SIZES:
        layers, width, heads, kv, d, ffn, vocab, _ = SIZES[name]
        script(args.baseline).CONFIGS[name] = {
            "hidden": width, "layers": layers, "H": heads, "HKV": kv, "D": d, "inter": ffn,
            "vocab": vocab, "tied": True, "qk_norm": "gemma-3" in name, "theta": 1e4, "eps": 1e-6,
        }  # fmt: skip
    sizes: Any = SimpleNamespace(name=name, rows=row["batch"], context=row["context"])
    peers = {
        variant: statistics.median([call() for _ in range(args.rounds)])
        for variant, call in baseline(args.baseline, sizes).items()
    }
    best = min(peers, key=lambda v: peers[v])
    row |= {
        "best_kernel_per_op": best, "best_kernel_per_op_us": peers[best], "peers_us": peers,
        "speedup": peers[best] / row["us_per_step"],
    }  # fmt: skip


def main() -> None:
    """Measures the cases in their order and writes the result after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--compare", nargs="*", default=["Llama-3.2-1B,1,32256",
                        "gemma-3-1b,1,1024", "gemma-2-2b,1,1024"])  # fmt: skip
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--baseline", type=Path)
    parser.add_argument("--seconds", type=float, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    begun = time.perf_counter()
    torch.cuda.init()
    gbs = read_bandwidth(args.baseline)
    print(f"read {gbs:.0f} GB/s", flush=True)
    rows: list[dict[str, Any]] = []
    for case in [*args.cases, *(args.compare if args.baseline else ())]:
        if time.perf_counter() - begun > args.seconds:
            print("out of time", flush=True)
            break
        row = next((r for r in rows if key_of(r) == case), None)
        if row is None:
            rows.append(row := measured(args, Windowed(case, args.seed), gbs))
        else:
            compared(args, row)
        print(f"{time.perf_counter() - begun:.0f} s: {row}", flush=True)
        record("mega-h200-gemma", rows, args.seed, gbs)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
