"""Weights of codes in the persistent kernel against a kernel an operator, on one H200.

    python benchmarks/mega_quant_h200.py [--models Llama-3.2-1B ...] [--quant w4] [--context 1024]
        [--rows 1] [--steps 64] [--rounds 7] [--window 5 7 9] [--behind 2 4] [--baseline FILE]

As mega_h200.py, with every matrix in Q4_0 (`w4`: 4.5 bits a weight), in Q4_1 (`w41`: 5 bits, the
form of Q4_K too) or in e4m3 with a float32 scale a row (`fp8`), lm_head included. The floor counts
the bytes of the streams and of the KV. Peers, where a baseline script is given: its decoder as one
CUDA graph, whose products are the bf16 ones (`gemv`, tuned), or of 4-bit weights, a row's codes and
then its scales: the repository's solution of `gemm ... w4g32` (`w4_gemm`), and a GEMV that is tuned
here (`w4_gemv`). Writes benchmarks/results/mega-h200-QUANT.json. --dry: packs a tiny model on the
CPU, by torch as by numpy.
"""

from __future__ import annotations

import argparse
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import mega_h200
import numpy as np
import torch

from treadle.backends.mega import cuda_pack
from treadle.backends.mega.cuda import Decoder
from treadle.backends.mega.cuda_build import build
from treadle.backends.mega.cuda_tiles import Codes, Eights
from treadle.graph import Graph
from treadle.mega import H200, compile
from treadle.mega.codegen import generate
from treadle.mega.codegen_feed import segment
from treadle.mega.codegen_program import Knobs, Program

FORMATS = {"w4": "q4_0", "w41": "q4_1", "fp8": "fp8"}


def quantised(graph: Graph, quant: str) -> Graph:
    """The graph with all matrices in the format."""
    names = [name for name, param in graph.params.items() if len(param.shape) > 1]
    return graph.with_formats(dict.fromkeys(names, FORMATS[quant]))


def packed(x: torch.Tensor, quant: str) -> Codes | Eights:
    """A random matrix rounded to a form: scales by the greatest weight of a group or row."""
    x = x.float()
    if quant == "w4":
        groups = x.view(len(x), -1, 32)
        scale = (groups.abs().amax(-1) / 7.5).half()
        code = (groups / scale.float()[..., None]).round_().add_(8).clamp_(0, 15)
        return Codes(code.to(torch.uint8).view(x.shape), scale.view(torch.int16), None)
    if quant == "w41":
        groups = x.view(len(x), -1, 32)
        low = groups.amin(-1).half()
        scale = ((groups.amax(-1) - low.float()) / 15).half()
        code = ((groups - low.float()[..., None]) / scale.float()[..., None]).round_().clamp_(0, 15)
        return Codes(
            code.to(torch.uint8).view(x.shape), scale.view(torch.int16), low.view(torch.int16)
        )
    scale = x.abs().amax(1, keepdim=True) / 448
    code = (x / scale).to(torch.float8_e4m3fn)
    return Eights(code.view(torch.uint8), scale)


def meant(x: Codes | Eights) -> torch.Tensor:
    """float32 of codes on the GPU."""
    if isinstance(x, Eights):
        return x.code.view(torch.float8_e4m3fn).float() * x.scale
    scale = x.scale.view(torch.float16).float()[..., None]
    code = x.code.view(len(x.code), -1, 32).float()
    if x.low is None:
        return ((code - 8) * scale).view(x.code.shape)
    return (code * scale + x.low.view(torch.float16).float()[..., None]).view(x.code.shape)


class Model(mega_h200.Model):
    """A model of codes; `params` holds what they mean, in float32."""

    def __init__(self, name: str, rows: int, context: int, seed: int, quant: str) -> None:
        self.quant = quant
        graph = quantised(mega_h200.graph_of(name), quant)  # what a plan balances by
        super().__init__(name, rows, context, seed, graph)
        self.codes = {n: packed(x, quant) for n, x in self.params.items() if x.ndim > 1}
        self.params |= {n: meant(x) for n, x in self.codes.items()}
        self.formats = {n: p.format for n, p in self.graph.params.items()}
        self.streamed = 0

    def program(self, knobs: Knobs) -> Program:
        return generate(self.plan, knobs, self.formats)

    def decoder(self, knobs: Knobs) -> Decoder:
        """A decoder with packed weights; the KV is that of `reset`."""
        program = self.program(knobs)
        made = Decoder(program, pages=self.pages)
        blob, embed = filled(self, program)
        torch.cuda.synchronize()
        self.streamed = blob.nbytes
        made.stream.copy(blob.data_ptr(), blob.nbytes)
        made.embed.copy(embed.data_ptr(), embed.nbytes)
        made.pool.put(cuda_pack.pool(program, self.vector))
        return made

    def vector(self, number: int) -> np.ndarray:
        return self.params[self.plan.params[number]].cpu().numpy()

    def bytes_a_step(self) -> int:
        """What the streams hold, and the KV of the context."""
        row = self.kv[0, 0, :, :, 0].nbytes * len(self.kv)
        return self.streamed + self.rows * self.context * row


def filled(model: Model, program: Program) -> tuple[torch.Tensor, torch.Tensor]:
    """The streams, and the rows of the embedding in bf16."""
    names = model.plan.params
    size = int(cuda_pack.starts(program)[-1])
    blob = torch.empty(size // 2, dtype=torch.int16, device=model.kv.device)
    cuda_pack.fill(blob, program, lambda i: model.codes[names[i]])
    return blob, model.params[names[program.embed]].bfloat16().contiguous()


def peers(path: Path, model: Model, rounds: int) -> dict[str, float]:
    """Microseconds a step of the baseline's variants: bf16 products, then 4-bit ones."""
    from mega_quant_peers import variants  # Triton has no CPU build to dry-run with

    found: dict[str, float] = {}
    for name, call in mega_h200.baseline(path, model).items():
        found[name] = statistics.median([call() for _ in range(rounds)])
    torch.cuda.empty_cache()
    if model.quant != "w4":
        return found
    module = mega_h200.script(path)
    m = module.Model(model.name, module.CONFIGS[model.name], torch.device("cuda"))
    m.set_state(model.rows, model.context)
    for name, step in variants(module, m, lambda w: four(packed(w, "w4"))).items():
        m.reset()
        graph = module.Captured(step, warm=2)
        times: list[float] = []
        for _ in range(rounds):
            first, second = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            for _ in range(32):
                graph.replay()
            second.record()
            torch.cuda.synchronize()
            times.append(first.elapsed_time(second) * 1000 / 32)
        found[name] = statistics.median(times)
    return found


def four(x: Codes | Eights) -> Codes:
    """For the type checker: what `packed` makes of `w4`."""
    assert isinstance(x, Codes)
    return x


def measure(args: argparse.Namespace, name: str, gbs: float) -> list[dict[str, Any]]:
    """Rows of one model, the fastest setting last."""
    model = Model(name, args.rows, args.context, args.seed, args.quant)
    settings = [Knobs(window=w, behind=b) for w in args.window for b in args.behind]
    with ThreadPoolExecutor(8) as pool:
        logs = list(pool.map(lambda k: build(model.program(k).text)[1], settings))
    print(f"{name}: {logs[0].splitlines()[-4:]}", flush=True)
    checked: dict[str, Any] = {}
    times: dict[Knobs, list[float]] = {}
    for knobs in settings:
        decoder = model.decoder(knobs)
        if not checked:
            checked = mega_h200.correct(model, decoder, 4)
            print(f"{name}: {checked}", flush=True)
        model.reset(decoder)
        times[knobs] = [mega_h200.timed(model, decoder, args.steps) for _ in range(args.rounds)]
        print(f"{name} {knobs}: {statistics.median(times[knobs]):.1f} us", flush=True)
        del decoder
    others = peers(args.baseline, model, args.rounds) if args.baseline else {}
    print(f"{name}: {others}", flush=True)
    floor = model.bytes_a_step() / gbs / 1e3
    best = min(others, key=lambda v: others[v]) if others else ""
    rows: list[dict[str, Any]] = []
    for knobs, rounds in sorted(times.items(), key=lambda item: -statistics.median(item[1])):
        us = statistics.median(rounds)
        rows.append({
            "model": name, "batch": args.rows, "context": args.context, "tp": 1,
            "quant": args.quant, "us_per_step": us, "floor_us": floor, "ratio_to_floor": us / floor,
            "best_kernel_per_op": best, "best_kernel_per_op_us": others.get(best),
            "speedup": others[best] / us if best else None, "peers_us": others,
            "window": knobs.window, "behind": knobs.behind, "spread_us": (min(rounds), max(rounds)),
            "steps_a_launch": args.steps, **checked,
        })  # fmt: skip
    return rows


def dry(quant: str) -> None:
    """Packs a tiny model with torch on the CPU; the streams must be those that numpy packs."""
    graph = quantised(mega_h200.graph_of("tiny"), quant)
    plan = compile(graph, replace(H200, workers=16), rows=1, slots=1, context=512,
                   segment=segment(1, 512))  # fmt: skip
    program = generate(plan, Knobs(), {n: p.format for n, p in graph.params.items()})
    torch.manual_seed(1)
    size = int(cuda_pack.starts(program)[-1]) // 2
    blob, plain = torch.zeros(size, dtype=torch.int16), np.zeros(size, np.uint16)
    codes = {
        n: packed(torch.randn(graph.dims.sizes(p.shape)), quant)
        for n, p in graph.params.items()
        if len(p.shape) > 1
    }
    cuda_pack.fill(blob, program, lambda i: codes[plan.params[i]])
    cuda_pack.fill(plain, program, lambda i: in_numpy(codes[plan.params[i]]))
    weights = sum(len(x.code) * x.code.shape[1] for n, x in codes.items() if n != "embed")
    print(f"{quant}: equal {np.array_equal(blob.numpy().view(np.uint16), plain)}, "
          f"{size * 16 / weights:.3f} bits a weight, {np.count_nonzero(plain)} words")  # fmt: skip


def in_numpy(x: Codes | Eights) -> Codes | Eights:
    """Codes as numpy packs them."""
    if isinstance(x, Eights):
        return Eights(x.code.numpy(), x.scale.numpy())
    low = None if x.low is None else x.low.numpy().view(np.uint16)
    return Codes(x.code.numpy(), x.scale.numpy().view(np.uint16), low)


def main() -> None:
    """Measures the models asked for and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["Llama-3.2-1B"])
    parser.add_argument("--quant", choices=list(FORMATS), default="w4")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--window", type=int, nargs="+", default=[5, 7, 9])
    parser.add_argument("--behind", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--baseline", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dry", action="store_true")
    args = parser.parse_args()
    if args.dry:
        dry(args.quant)
        return
    torch.cuda.init()
    gbs = mega_h200.read_bandwidth(args.baseline)
    print(f"read {gbs:.0f} GB/s", flush=True)
    rows: list[dict[str, Any]] = []
    for name in args.models:
        rows += measure(args, name, gbs)
        torch.cuda.empty_cache()
        mega_h200.record(f"mega-h200-{args.quant}", rows, args.seed, gbs)


if __name__ == "__main__":
    main()
