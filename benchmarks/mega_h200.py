"""One persistent kernel a decode loop against kernels an operator, on one H200.

    python benchmarks/mega_h200.py [--cases Llama-3.2-1B,1 ...] [--context 1024] [--steps 64]
        [--rounds 7] [--window 4 5] [--behind 2] [--soak 1000] [--baseline FILE] [--seconds 500]

For each case, a model and its rows: random weights, the logits of teacher-forced steps against the
float32 reference of the graph, two replays that must agree bit for bit, two more of --soak steps
each with all that they leave in the KV pages, then the time of a step for every setting of the
ring, beside the read bandwidth of the same run. --baseline: a script with a decoder of the same
shape as one CUDA graph (variants `triton`, `gemv`, `tuned rows`), measured after it. --fault: a
muted worker must end in an error record; the process ends with it. Writes
benchmarks/results/mega-h200.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import mega_rows
import numpy as np
import torch
from machine import machine, versions, write

from treadle.backends.mega import cuda_pack
from treadle.backends.mega.cuda import Decoder
from treadle.backends.mega.cuda_build import build
from treadle.errors import EngineDead
from treadle.graph import Graph, run
from treadle.mega import H200, Plan, compile
from treadle.mega.codegen import PAGE, generate
from treadle.mega.codegen_feed import segment
from treadle.mega.codegen_program import Knobs
from treadle.models import llama, qwen3
from treadle.models.rope import Rope
from treadle.models.shape import Shape
from treadle.types import Batch

SIZES = {  # layers, D, H, K, d, F, V, tied, rope base, eps
    "Llama-3.2-1B": (16, 2048, 32, 8, 64, 8192, 128256, True, 5e5, 1e-5),
    "Qwen3-0.6B": (28, 1024, 16, 8, 128, 3072, 151936, True, 1e6, 1e-6),
    "Qwen3-1.7B": (28, 2048, 16, 8, 128, 6144, 151936, True, 1e6, 1e-6),
    "Qwen3-8B": (36, 4096, 32, 8, 128, 12288, 151936, False, 1e6, 1e-6),
    "tiny": (3, 512, 16, 8, 64, 2048, 4096, False, 1e4, 1e-5),
}
CASES = ("Llama-3.2-1B,1", "Qwen3-0.6B,1", "Qwen3-1.7B,1", "Qwen3-8B,1", "Llama-3.2-1B,16",
         "Qwen3-8B,16")  # fmt: skip
ROOM = 256
"""Positions behind the context that a row may grow by."""


def graph_of(name: str) -> Graph:
    """The graph of a model's shape, with pages of 64 positions."""
    layers, width, heads, kv, d, ffn, vocab, tied, base, eps = SIZES[name]
    shape = Shape(layers=layers, D=width, H=heads, K=kv, d=d, F=ffn, V=vocab, eps=eps,
                  context=32768, tied=tied)  # fmt: skip
    if name.startswith("Qwen3"):
        return qwen3.build(qwen3.Config(shape, Rope(d, base), (0,) * layers), page=PAGE)
    return llama.build(llama.Config(shape, Rope(d, base)), page=PAGE)


def weights(graph: Graph, seed: int) -> dict[str, torch.Tensor]:
    """Random params on the GPU: bf16 matrices, float32 vectors near 1."""
    torch.manual_seed(seed)
    found: dict[str, torch.Tensor] = {}
    for name, param in graph.params.items():
        shape = graph.dims.sizes(param.shape)
        if name.startswith("inv_freq"):
            r = shape[0]
            found[name] = 5e5 ** (-torch.arange(r, device="cuda", dtype=torch.float32) / r)
        elif len(shape) == 1:
            found[name] = 1 + 0.1 * torch.randn(shape, device="cuda")
        else:
            found[name] = (torch.randn(shape, device="cuda") * shape[-1] ** -0.5).bfloat16()
    return found


class Model:
    """One model's weights, KV pages and decoders by setting."""

    def __init__(
        self, name: str, rows: int, context: int, seed: int, graph: Graph | None = None
    ) -> None:
        self.name, self.rows, self.context = name, rows, context
        self.graph = graph or graph_of(name)
        self.params = weights(self.graph, seed)
        limit = -(-(context + ROOM) // 1024) * 1024
        start = time.perf_counter()
        self.plan = self.planned(limit)
        print(f"{name}: plan {time.perf_counter() - start:.1f} s", flush=True)
        self.width = limit // PAGE
        rng = np.random.default_rng(seed)
        self.pages = rows * self.width
        self.table = rng.permutation(self.pages).astype(np.int32).reshape(rows, self.width)
        kv, d = self.graph.size("K"), self.graph.size("d")
        self.kv = torch.randn((len(self.plan.states), self.pages, kv, 2, PAGE, d), device="cuda")
        self.kv = self.kv.mul_(0.5).bfloat16()

    def planned(self, limit: int) -> Plan:
        """The plan for so many positions a row."""
        return compile(self.graph, replace(H200, workers=128), rows=self.rows, slots=self.rows,
                       context=limit, segment=segment(self.rows, limit))  # fmt: skip

    def decoder(self, knobs: Knobs) -> Decoder:
        """A decoder with packed weights; the KV is that of `reset`."""
        program = generate(self.plan, knobs)
        made = Decoder(program, pages=self.pages)
        names = self.plan.params
        blob = torch.empty(made.stream.size // 2, dtype=torch.int16, device="cuda")
        cuda_pack.fill(blob, program, lambda i: self.params[names[i]].view(torch.int16))
        torch.cuda.synchronize()
        made.stream.copy(blob.data_ptr(), blob.nbytes)
        embed = self.params[names[program.embed]]
        made.embed.copy(embed.data_ptr(), embed.nbytes)
        made.pool.put(cuda_pack.pool(program, lambda i: self.params[names[i]].cpu().numpy()))
        del blob
        return made

    def reset(self, decoder: Decoder) -> None:
        """Positions before the context as they were made."""
        torch.cuda.synchronize()
        decoder.kv.copy(self.kv.data_ptr(), self.kv.nbytes)

    def bytes_a_step(self) -> int:
        """Weights but the embedding's rows, and the KV of the context."""
        names = {p for site in self.plan.sites if site.op == 3 for p in site.w[: site.parts]}
        matrices = sum(self.params[self.plan.params[i]].nbytes for i in names)
        return matrices + self.rows * self.context * self.kv[0, 0, :, :, 0].nbytes * len(self.kv)

    def reference(self, tokens: np.ndarray) -> torch.Tensor:
        """float32 logits [steps, rows, V], fed with the tokens [steps, rows]."""
        params = {name: x.float() for name, x in self.params.items()}
        state = {  # [P, 2, B, K, d] of each layer
            name: self.kv[i].float().permute(0, 2, 3, 1, 4).contiguous()
            for i, name in enumerate(self.graph.state)
        }
        found: list[torch.Tensor] = []
        for step, ids in enumerate(tokens):
            at = self.context + step
            slots = self.table[:, at // PAGE] * PAGE + at % PAGE
            arrays = (ids, [at] * self.rows, slots, range(self.rows + 1), [at + 1] * self.rows,
                      self.table, range(self.rows))  # fmt: skip
            inputs = {
                n: torch.tensor(np.array(a, np.int32), device="cuda")
                for n, a in zip(Batch.__struct_fields__, arrays, strict=True)
            }
            out, state = run(self.graph, inputs, params, state, torch, in_place=True)
            found.append(out[self.graph.outputs[0]].float())
        return torch.stack(found)


def correct(model: Model, decoder: Decoder, steps: int) -> dict[str, Any]:
    """Teacher-forced logits against the reference, and a replay."""
    begin = [(17 + r, model.context) for r in range(model.rows)]
    runs: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(2):
        model.reset(decoder)
        decoder.start(begin, model.table, steps)
        decoder.wait()
        runs.append((decoder.tokens(steps), decoder.logits()))
    same = all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))
    tokens, last = runs[0]
    fed = np.concatenate(([[token for token, _ in begin]], tokens[:-1]))
    wanted = model.reference(fed)
    error = torch.linalg.norm(torch.tensor(last, device="cuda") - wanted[-1]) / torch.linalg.norm(
        wanted[-1]
    )
    agree = (wanted.argmax(-1).cpu().numpy() == tokens).mean()
    rows = torch.linalg.norm(torch.tensor(last, device="cuda") - wanted[-1], dim=-1)
    worst = (rows / torch.linalg.norm(wanted[-1], dim=-1)).max()
    return {
        "replay_identical": same, "relative_error": float(error), "worst_row": float(worst),
        "top1": float(agree),
    }  # fmt: skip


class _Words:
    """Memory of a decoder as torch can read it."""

    def __init__(self, at: int, size: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (size // 4,), "typestr": "<i4", "data": (at, False), "version": 2,
        }  # fmt: skip


def soaked(model: Model, decoder: Decoder, steps: int) -> dict[str, Any]:
    """Two launches of so many steps: whether tokens, logits and KV pages are the same bits."""
    begin = [(17 + r, model.context) for r in range(model.rows)]
    runs: list[tuple[Any, Any, torch.Tensor]] = []
    for _ in range(2):
        model.reset(decoder)
        decoder.start(begin, model.table, steps)
        decoder.wait()
        pages = torch.as_tensor(_Words(decoder.kv.at, decoder.kv.size), device="cuda")
        runs.append((decoder.tokens(steps), decoder.logits(), pages.clone()))
    (tokens, logits, pages), (again, last, after) = runs
    same = np.array_equal(tokens, again) and np.array_equal(logits, last)
    return {
        "soak_steps": steps, "soak_identical": same and torch.equal(pages, after),
        "soak_finite": bool(np.isfinite(logits).all()),
        "soak_tokens": len(np.unique(tokens)),
    }  # fmt: skip


def timed(model: Model, decoder: Decoder, steps: int) -> float:
    """Microseconds a step of one launch."""
    begin = [(17 + r, model.context) for r in range(model.rows)]
    first = decoder.device.event()
    decoder.start(begin, model.table, steps)
    second = decoder.device.event()
    decoder.wait()
    return decoder.device.elapsed(first, second) / steps


def script(path: Path) -> Any:
    """The baseline script as a module, loaded once."""
    spec = importlib.util.spec_from_file_location("decode_baseline", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = sys.modules.setdefault("decode_baseline", importlib.util.module_from_spec(spec))
    if not hasattr(module, "CONFIGS"):
        spec.loader.exec_module(module)
        module.ON_GPU = True
    return module


def baseline(path: Path, model: Model) -> dict[str, Callable[[], float]]:
    """Variants of the baseline script: name to microseconds a step of a round."""
    module = script(path)
    m = module.Model(model.name, module.CONFIGS[model.name], torch.device("cuda"))
    if model.rows == 1:
        module.tune_gemv(m)
    m.set_state(model.rows, model.context)
    module.pick_sdpa(m)
    plain = m.lin

    def replayed() -> Callable[[], float]:
        m.reset()
        graph = module.Captured(m.step_triton, warm=2)

        def call() -> float:
            first, second = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            for _ in range(32):
                graph.replay()
            second.record()
            torch.cuda.synchronize()
            return first.elapsed_time(second) * 1000 / 32

        return call

    found = {"triton": replayed()}
    if model.rows == 1:
        m.use_gemv = True
        found["gemv"] = replayed()
    else:
        chosen = mega_rows.tune(m, model.rows, lambda call: module.bench(
            module.Captured(call, warm=1).replay, target_s=0.02, reps=3)[0])  # fmt: skip
        print(f"{model.name}: {chosen}", flush=True)
        m.lin = m.tuned_lin
        found["tuned rows"] = replayed()
        m.lin = plain
    return found


def read_bandwidth(path: Path | None) -> float:
    """GB/s of the best read of 8 GiB known here: what the floor divides by."""
    x = torch.ones(1 << 31, dtype=torch.float32, device="cuda")
    times: list[float] = []
    for _ in range(8):
        first, second = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        x.sum()
        second.record()
        torch.cuda.synchronize()
        times.append(first.elapsed_time(second))
    found = x.nbytes / statistics.median(times) / 1e6
    del x
    if path is not None:
        found = max(found, *(read_by(script(path), *s) for s in READS))
    return found


READS = ((4096, 16, 8), (4096, 64, 4), (8192, 16, 8), (2048, 64, 4), (8192, 64, 8))
"""Words a block reads at once, how often, and its warps."""


def read_by(module: Any, block: int, turns: int, warps: int) -> float:
    """GB/s of the baseline's read-only kernel."""
    x = torch.ones(1 << 31, dtype=torch.int32, device="cuda")
    grid = x.numel() // (block * turns)
    y = torch.empty(grid, dtype=torch.int32, device="cuda")
    seconds, _ = module.bench(
        lambda: module.k_read[(grid,)](x, y, x.numel(), ITERS=turns, BLOCK=block, num_warps=warps),
        target_s=0.05, reps=3,
    )  # fmt: skip
    return x.nbytes / seconds / 1e9


def fault(model: Model) -> None:
    """A muted worker must be named within the patience of a wait."""
    decoder = model.decoder(Knobs())
    model.reset(decoder)
    begun = time.perf_counter()
    decoder.start([(17, model.context)] * model.rows, model.table, 2, mute=(5, 11))
    try:
        decoder.wait()
    except EngineDead as error:
        print(f"fault: {time.perf_counter() - begun:.2f} s: {error}", flush=True)
        return
    raise SystemExit("fault: the launch ended as if nothing were missing")


def measure(
    args: argparse.Namespace, name: str, batch: int, gbs: float, begun: float
) -> list[dict[str, Any]]:
    """Rows of one model at one batch, the fastest setting last."""
    model = Model(name, batch, args.context, args.seed)
    settings = [Knobs(window=w, behind=b) for w in args.window for b in args.behind]
    with ThreadPoolExecutor(8) as pool:
        logs = list(pool.map(lambda k: build(generate(model.plan, k).text)[1], settings))
    print(
        f"{name}: built at {time.perf_counter() - begun:.0f} s; {logs[0].splitlines()[-4:]}",
        flush=True,
    )
    checked: dict[str, Any] = {}
    times: dict[Knobs, float] = {}
    spread: dict[Knobs, tuple[float, float]] = {}
    for knobs in settings:
        if time.perf_counter() - begun > args.seconds:
            print("out of time", flush=True)
            break
        decoder = model.decoder(knobs)
        if not checked:
            checked = correct(model, decoder, 4)
            if args.soak:
                checked |= soaked(model, decoder, args.soak)
            print(f"{name} x {batch}: {checked}", flush=True)
        model.reset(decoder)
        rounds = [timed(model, decoder, args.steps) for _ in range(args.rounds)]
        times[knobs], spread[knobs] = statistics.median(rounds), (min(rounds), max(rounds))
        print(
            f"{name} x {batch} window {knobs.window} behind {knobs.behind}: {times[knobs]:.1f} us",
            flush=True,
        )
        del decoder
    peers: dict[str, float] = {}
    if args.baseline is not None and name != "tiny":
        for variant, call in baseline(args.baseline, model).items():
            peers[variant] = statistics.median([call() for _ in range(args.rounds)])
        print(f"{name}: {peers} at {time.perf_counter() - begun:.0f} s", flush=True)
    floor = model.bytes_a_step() / gbs / 1e3
    best = min(peers, key=lambda v: peers[v]) if peers else ""
    return [
        {"model": name, "batch": batch, "context": args.context, "tp": 1, "quant": "bf16",
         "us_per_step": us, "floor_us": floor, "ratio_to_floor": us / floor,
         "best_kernel_per_op": best, "best_kernel_per_op_us": peers.get(best),
         "speedup": peers[best] / us if best else None, "window": k.window, "behind": k.behind,
         "peers_us": peers,
         "spread_us": spread[k], "steps_a_launch": args.steps, **checked}
        for k, us in sorted(times.items(), key=lambda item: -item[1])
    ]  # fmt: skip


def record(name: str, rows: list[dict[str, Any]], seed: int, gbs: float) -> None:
    """Writes a result: rows, and what they were measured on."""
    driver = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
                            check=True, capture_output=True, text=True).stdout.strip()  # fmt: skip
    write(name, {
        "machine": machine(), "versions": versions("torch", "triton", "numpy"),
        "gpu": torch.cuda.get_device_name(), "driver": driver, "seed": seed,
        "read_gbs": gbs, "rows": rows,
    })  # fmt: skip


def main() -> None:
    """Measures the models asked for and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--soak", type=int, default=0, help="steps of two launches more")
    parser.add_argument("--window", type=int, nargs="+", default=[5])
    parser.add_argument("--behind", type=int, nargs="+", default=[None])
    parser.add_argument("--baseline", type=Path)
    parser.add_argument("--seconds", type=float, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", action="store_true")
    args = parser.parse_args()
    begun = time.perf_counter()
    torch.cuda.init()
    if args.fault:
        fault(Model("tiny", 1, 128, args.seed))
        return
    gbs = read_bandwidth(args.baseline)
    print(f"read {gbs:.0f} GB/s", flush=True)
    rows: list[dict[str, Any]] = []
    for case in args.cases:
        name, batch = case.split(",")
        rows += measure(args, name, int(batch), gbs, begun)
        torch.cuda.empty_cache()
        record("mega-h200", rows, args.seed, gbs)


if __name__ == "__main__":
    main()
