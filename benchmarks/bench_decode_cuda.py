"""Decode steps of the torch backend on a GPU: without graphs, with graphs, and with apply.

With graphs, kernels start before the one before them has ended (`overlap_triton`); two variants
show what that gains.

Random weights in the shape of Llama-3.2-1B, bfloat16, contexts filled by real prefill; greedy,
through the `Executable`, without the engine. All variants live in one process and take turns in
rounds; what apply gains is the median of the ratios within rounds. `step_ms` waits for every token
before it queues the next step; `queued_ms` is the time a step when the next one is queued first, as
the engine does it. The limit is weight and KV bytes over the bandwidth of a device-to-device copy,
both directions counted. Variants without graphs, several times as slow, take part in every fourth
round. The result is written after each batch size.

    python benchmarks/bench_decode_cuda.py [--batches 1,16] [--context 1024] [--rounds 9]
        [--baseline FILE] [--few]

--baseline: a script with a decoder of the same shape as one CUDA graph, measured beside.
--few: only graphs with and without apply, and what their logits are compared with.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

try:
    import torch
except ImportError:
    torch = None
STEPS, WARM = 20, 3
CHUNK = 512
FEW = ("eager, torch operations", "graphs", "graphs and apply")


@contextmanager
def replaced(name: str, value: Any) -> Iterator[None]:
    """Another value of something of the backend's own kernels."""
    from treadle.backends.torch import own

    before = getattr(own, name)
    setattr(own, name, value)
    try:
        yield
    finally:
        setattr(own, name, before)


def torch_operations() -> Any:
    """Hides the backend's own Triton kernels."""
    return replaced("fits", lambda device: False)


def overlapping(when: int) -> Callable[[], Any]:
    """Has the backend's Triton kernels start after another (0), or before its end (1, 2)."""
    return lambda: replaced("overlap", lambda device: when)


def prefill(exe: Any, sequences: int, length: int, seed: int) -> None:
    """Tokens 0 … length - 1 of every sequence, on the pages that `decode_batch` uses."""
    from bench_torch_cuda import PAGE, decode_batch

    from treadle.types import Batch

    rng = np.random.default_rng(seed)
    table = decode_batch(sequences, length + STEPS, True).table
    for s in range(sequences):
        for low in range(0, length, CHUNK):
            at = np.arange(low, min(low + CHUNK, length), dtype=np.int32)
            one = np.array([0, len(at)], np.int32)
            exe.forward(
                Batch(rng.integers(0, 128_000, len(at)).astype(np.int32), at,
                      table[s][at // PAGE] * PAGE + at % PAGE, one,
                      np.array([at[-1] + 1], np.int32), table[s : s + 1], np.zeros(0, np.int32))
            ).call.wait()  # fmt: skip


def batches_of(sequences: int, context: int) -> list[Any]:
    """STEPS decode steps after `context` tokens, on the tables of the longest."""
    from bench_torch_cuda import PAGE, decode_batch

    last = decode_batch(sequences, context + STEPS, True)
    made: list[Any] = []
    for step in range(STEPS):
        one = decode_batch(sequences, context + step + 1, step == 0)
        position = context + step
        slots = last.table[:, position // PAGE] * PAGE + position % PAGE
        made.append(replace(one, slots=slots.astype(np.int32), table=last.table))
    return made


def waiting(exe: Any, steps: list[Any], params: Any) -> float:
    """Milliseconds a step, each waited for."""
    start = time.perf_counter()
    for batch in steps:
        exe.sample(exe.forward(batch), None, params).wait()
    return (time.perf_counter() - start) * 1e3 / len(steps)


def queued(exe: Any, steps: list[Any], params: Any) -> float:
    """Milliseconds a step, one queued ahead."""
    start = time.perf_counter()
    before = None
    for batch in steps:
        tokens = exe.sample(exe.forward(batch), None, params)
        if before is not None:
            before.wait()
        before = tokens
    before.wait()
    return (time.perf_counter() - start) * 1e3 / len(steps)


def peer(path: Path, sequences: int, context: int) -> dict[str, Callable[[], float]]:
    """Variants of the baseline script: name → milliseconds a step of a round."""
    spec = importlib.util.spec_from_file_location("decode_baseline", path)
    if "decode_baseline" not in sys.modules:
        module = importlib.util.module_from_spec(spec)
        sys.modules["decode_baseline"] = module
        spec.loader.exec_module(module)
        module.ON_GPU = True
        module.made = module.Model("Llama-3.2-1B", module.CONFIGS["Llama-3.2-1B"],
                                   torch.device("cuda"))  # fmt: skip
        module.tune_gemv(module.made)
    module = sys.modules["decode_baseline"]
    m = module.made
    m.set_state(sequences, context)
    module.pick_sdpa(m)

    def replayed(step: Callable[[], None]) -> Callable[[], float]:
        m.reset()
        graph = module.Captured(step, warm=2)

        def run() -> float:
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(STEPS):
                graph.replay()
            torch.cuda.synchronize()
            return (time.perf_counter() - start) * 1e3 / STEPS

        return run

    found = {"peer torch": replayed(m.step_eager), "peer triton": replayed(m.step_triton)}
    if sequences == 1:
        m.use_gemv = True
        found["peer gemv"] = replayed(m.step_triton)
        m.use_gemv = False
    return found


def profiled(exe: Any, steps: list[Any], params: Any) -> list[dict[str, Any]]:
    """Kernels of a step by their time, and how often each runs."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as found:
        queued(exe, steps, params)
        torch.cuda.synchronize()
    rows = [
        {"kernel": e.key[:70], "us": round(e.self_device_time_total / len(steps), 2),
         "calls": round(e.count / len(steps), 2)}
        for e in found.key_averages() if e.self_device_time_total > 0
    ]  # fmt: skip
    return sorted(rows, key=lambda row: -row["us"])[:16]


def main() -> None:
    """Compiles every variant, measures each batch size, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--baseline", type=Path)
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/treadle/kernels")
    args = parser.parse_args()
    if torch is None or not torch.cuda.is_available():
        print("skipped: torch sees no CUDA device")
        return
    import decode_traces
    from bench_torch_cuda import PAGE, SHAPE, RandomWeights, copy_bandwidth, greedy
    from machine import machine, spread, versions, write

    from treadle.backends.table import backend
    from treadle.limits import Limits
    from treadle.models import llama
    from treadle.models.rope import Rope

    graph = llama.build(llama.Config(SHAPE, Rope(SHAPE.d, 500_000.0)), act="bf16", page=PAGE)
    lazy = RandomWeights(graph, args.seed)
    with ThreadPoolExecutor() as pool:
        weights = dict(zip(lazy, pool.map(lazy.__getitem__, lazy), strict=True))
    sizes = [int(text) for text in args.batches.split(",")]
    pages = max(sizes) * (-(-(args.context + STEPS) // PAGE) + 1)
    bandwidth = copy_bandwidth()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as text:
        table, traces = decode_traces.table(Path(text), sizes, args.cache)
        print(f"traces after {time.monotonic() - begun:.0f} s", flush=True)
        made: dict[str, tuple[Any, Any]] = {}
        for name, around, options in (
            ("eager, torch operations", torch_operations, {"graphs": False}),
            ("eager", nullcontext, {"graphs": False}),
            ("graphs, one after another", overlapping(0), {}),
            ("graphs, released late", overlapping(2), {}),
            ("graphs", nullcontext, {}),
            ("graphs and apply", nullcontext, {"kernels": table}),
        ):
            if args.few and name not in FEW:
                continue
            with around():
                exe = backend("torch", device="cuda", dtype="bf16", **options).compile(
                    graph, weights, Limits(), pages=pages
                )
            made[name] = (exe, around)
        table.wait()
        print(f"compiled after {time.monotonic() - begun:.0f} s", flush=True)
        figures = {
            "what": "decode step, torch backend, bf16, random weights of Llama-3.2-1B's shape",
            "context": args.context,
            "rounds": args.rounds,
            "steps_a_round": STEPS,
            "copy_gb_s": round(bandwidth / 1e9, 1),
            "results": [],
            "traces": traces,
            "gpu": torch.cuda.get_device_name(),
            "seed": args.seed,
            "machine": machine(),
            "versions": versions("torch", "triton", "numpy"),
        }
        for n in sizes:
            figures["results"].append(
                measure(args, made, n, greedy(n), spread, graph, bandwidth, SHAPE)
            )
            figures["apply"] = table.counters()
            figures["stats"] = {name: exe.stats() for name, (exe, _) in made.items()}
            print(write("decode_cuda", figures), f"after {time.monotonic() - begun:.0f} s",
                  flush=True)  # fmt: skip
        print(figures["apply"], figures["stats"])
        for exe, _ in made.values():
            exe.close()
        table.close()


def measure(
    args: Any, made: dict[str, Any], n: int, params: Any, spread: Any, graph: Any,
    bandwidth: float, shape: Any,
) -> dict[str, Any]:  # fmt: skip
    """All variants at one batch size, in random order each round."""
    from treadle.kernels import stats

    steps = batches_of(n, args.context)
    first: dict[str, Any] = {}
    runs: dict[str, Callable[[], dict[str, float]]] = {}
    for name, (exe, around) in made.items():
        with around():
            prefill(exe, n, args.context, args.seed)
            first[name] = exe.forward(steps[0]).call.wait().clone()
            queued(exe, steps[:WARM], params)

        def run(exe: Any = exe, around: Any = around) -> dict[str, float]:
            with around():
                return {"step_ms": waiting(exe, steps, params),
                        "queued_ms": queued(exe, steps, params)}  # fmt: skip

        runs[name] = run
    if args.baseline is not None:
        for name, call in peer(args.baseline, n, args.context + STEPS // 2).items():
            runs[name] = lambda call=call: {"queued_ms": call()}
    times: dict[str, dict[str, list[float]]] = {name: {} for name in runs}
    order = np.random.default_rng(args.seed)
    for turn in range(args.rounds + 1):
        taking = [name for name in runs if turn % 4 == 0 or not name.startswith("eager")]
        for name in order.permutation(taking):
            for key, value in runs[str(name)]().items():
                if turn:
                    times[str(name)].setdefault(key, []).append(value)
    weights = sum(2 * int(np.prod([graph.size(a) for a in p.shape])) for p in graph.params.values())
    kv = n * (args.context + STEPS // 2) * shape.layers * 2 * shape.K * shape.d * 2
    limit = (weights + kv) / bandwidth * 1e3
    wanted = first["eager, torch operations"]
    found: dict[str, Any] = {}
    for name, kept in times.items():
        found[name] = {key: spread(values) for key, values in kept.items()}
        for one in found[name].values():
            one.pop("values")
        found[name]["times_limit"] = round(found[name]["queued_ms"]["median"] / limit, 3)
        if name in first:
            off = (first[name] - wanted).norm() / wanted.norm()
            found[name]["difference"] = round(float(off), 5)
        print(n, name, found[name], flush=True)
    pairs = zip(*(times[name]["queued_ms"] for name in ("graphs", "graphs and apply")), strict=True)
    gain = stats.compare(list(pairs))
    gains = {"ratio": round(gain.ratio, 4), "ci99": [round(gain.low, 4), round(gain.high, 4)]}
    print(n, "apply over none, in pairs of rounds", gains, flush=True)
    exe, _ = made["graphs and apply"]
    return {"batch": n, "limit_ms": round(limit, 4), "variants": found, "apply": gains,
            "profile": profiled(exe, steps, params)}  # fmt: skip


if __name__ == "__main__":
    main()
