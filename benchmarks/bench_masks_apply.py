"""Masks applied to logits on the GPU: right against numpy, then timed against reading the logits.

    python benchmarks/bench_masks_apply.py              # writes results/mask_apply_cuda.json
    python benchmarks/bench_masks_apply.py --check cpu  # the checks alone, on the CPU

Needs torch and triton with a CUDA device; neither treadle's compiled core nor the network. Each
figure is the device time of one call, from CUDA graphs of many calls over several buffers (those
of small batches stay in the L2 cache, as they do after a forward pass); `call_us` is the host's
time to issue one. Peers: xgrammar's own Triton kernel where
it is installed, and one read of the logits (their sum), which no mask can be asked to beat.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "mask_apply_cuda.json"
SEED = 20
V = 128_256
BATCHES = (1, 16, 64, 256)
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
KINDS = ("sparse", "dense", "mixed")  # few legal tokens; few illegal ones; half, at random
CALLS = 20  # a graph
ROUNDS = 15


def masks_module() -> Any:
    """treadle.backends.torch.mask without the packages' __init__, which need the compiled core."""
    for name in ("treadle", "treadle.backends", "treadle.backends.torch"):
        if name in sys.modules:
            continue
        package = types.ModuleType(name)
        package.__path__ = [str(ROOT / "python" / Path(*name.split(".")))]
        sys.modules[name] = package
    return importlib.import_module("treadle.backends.torch.mask")


def random_rows(rng: np.random.Generator, n: int, words: int, kind: str) -> np.ndarray:
    """int32 [n, words]."""
    if kind == "mixed":
        return rng.integers(0, 1 << 32, (n, words), dtype=np.uint64).astype(np.uint32).view("i4")
    flat = np.zeros((n, words * 32), dtype=bool)
    for row in flat:
        row[rng.choice(words * 32, 300, replace=False)] = True
    packed = np.packbits(flat if kind == "sparse" else ~flat, axis=1, bitorder="little")
    return np.ascontiguousarray(packed).view("i4")


def expected(logits: Any, rows: dict[int, np.ndarray], keep_beyond: bool) -> Any:
    """The oracle, by numpy: `rows` maps a row of logits to its mask row."""
    out = logits.float().cpu().numpy().copy()
    for row, words in rows.items():
        bits = np.unpackbits(words.view(np.uint8), bitorder="little").astype(bool)
        legal = np.full(out.shape[1], keep_beyond)
        width = min(len(bits), len(legal))
        legal[:width] = bits[:width]
        out[row, ~legal] = -np.inf
    return torch.from_numpy(out)


def check(mask: Any, device: str) -> dict[str, int]:
    """Every way, type and form against the oracle; returns how many cases each way passed."""
    rng = np.random.default_rng(SEED)
    passed: dict[str, int] = {}
    ways = ["torch"] if device == "cpu" else mask.ways(device)
    sizes = [(1, 31, 1), (3, 1000, 32), (5, 5003, 157), (4, 5003, 100), (9, 40_001, 1251)]
    for way in ways:
        for name, dtype in DTYPES.items():
            for n, width, words in sizes:
                for form in ("dense", "indexed", "ids", "ids indexed"):
                    for keep in (False, True):
                        case = (way, name, n, width, words, form, keep)
                        one_case(mask, rng, device, dtype, case)
                        passed[way] = passed.get(way, 0) + 1
    return passed


def one_case(mask: Any, rng: np.random.Generator, device: str, dtype: Any, case: Any) -> None:
    way, _, n, width, words, form, keep = case
    table = random_rows(rng, n + 2, words, "mixed")
    staging = random_rows(rng, n, words, "mixed")
    table[0, ::3] = 0
    table[-1, ::2] = -1
    logits = torch.from_numpy(rng.standard_normal((n, width + 3))).to(device, dtype)
    part = logits[:, :width]  # rows with a gap, so that a store past the width shows
    before = logits.clone()
    on = [torch.from_numpy(rows).to(device) for rows in (table, staging)]
    index = [int(i) for i in rng.permutation(n)[: (n + 1) // 2]]
    rows: dict[int, np.ndarray]
    if form in ("dense", "indexed"):
        chosen = None if form == "dense" else index
        rows = {r: table[r] for r in (range(n) if chosen is None else chosen)}
        mask.apply_mask(part, on[0], chosen, keep_beyond=keep, way=way)
    else:
        where = index if form == "ids indexed" else list(range(n))
        ids = [int(rng.choice([-1, -2, *range(n + 2)])) for _ in where]
        rows = {}
        for i, (row, number) in enumerate(zip(where, ids, strict=True)):
            if number != -1:
                rows[row] = staging[i] if number == -2 else table[number]
        given = None if form == "ids" else where
        mask.apply_mask_ids(part, on[0], ids, staging=on[1], index=given, keep_beyond=keep, way=way)
    if not torch.equal(part.float().cpu(), expected(before[:, :width], rows, keep)):
        raise SystemExit(f"wrong: {case}")
    if not torch.equal(logits[:, width:], before[:, width:]):
        raise SystemExit(f"wrote past the width: {case}")


def device_us(call: Callable[[int], None], copies: int) -> tuple[float, float]:
    """Median and inter-quartile range of one call's device time, from graphs of CALLS calls."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for i in range(copies):
            call(i)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for i in range(CALLS):
            call(i % copies)
    times: list[float] = []
    for _ in range(ROUNDS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e3 / CALLS)
    low, middle, high = statistics.quantiles(times, n=4)
    return middle, high - low


def call_us(call: Callable[[int], None]) -> float:
    """Host time to issue one call: the median of rounds that never fill the device's queue."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(10):
            call(0)
        rounds.append((time.perf_counter() - start) * 1e5)
    torch.cuda.synchronize()
    return statistics.median(rounds)


def peers(mask: Any) -> dict[str, Callable[..., None]]:
    """name → call(logits, rows, table, ids)."""
    out: dict[str, Callable[..., None]] = {}
    for way in mask.ways("cuda"):
        out[way] = lambda x, rows, table, ids, way=way: mask.apply_mask(x, rows, way=way)
        out[f"{way} by ids"] = lambda x, rows, table, ids, way=way: mask.apply_mask_ids(
            x, table, ids, way=way
        )
    try:
        from xgrammar.kernels.apply_token_bitmask_inplace_triton import (
            apply_token_bitmask_inplace_triton,
        )

        out["xgrammar triton"] = lambda x, rows, table, ids: apply_token_bitmask_inplace_triton(
            x, rows
        )
    except ImportError as error:
        print(f"xgrammar's kernel is not measured: {error}", file=sys.stderr)
    return out


def measure(mask: Any) -> list[dict[str, Any]]:
    rng = np.random.default_rng(SEED)
    words = (V + 31) // 32
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    results: list[dict[str, Any]] = []
    for name in ("bf16", "f32"):
        for n in BATCHES:
            bytes_ = n * V * DTYPES[name].itemsize
            copies = max(2, min(16, 2 * cache // bytes_ + 1))  # together past the cache
            logits = [torch.zeros((n, V), device="cuda", dtype=DTYPES[name]) for _ in range(copies)]
            sums = torch.empty(n, device="cuda", dtype=torch.float32)
            read, spread = device_us(
                lambda i, xs=logits, s=sums: torch.sum(xs[i], 1, dtype=torch.float32, out=s), copies
            )
            for kind in KINDS:
                rows = torch.from_numpy(random_rows(rng, n, words, kind)).cuda()
                table = torch.cat((torch.zeros_like(rows), rows))
                ids = torch.arange(n, 2 * n, dtype=torch.int32, device="cuda")
                for peer, call in peers(mask).items():
                    run = lambda i, c=call, r=rows, t=table, d=ids, x=logits: c(x[i], r, t, d)  # noqa: E731
                    median, iqr = device_us(run, copies)
                    results.append(
                        {
                            "way": peer,
                            "dtype": name,
                            "batch": n,
                            "mask": kind,
                            "device_us": round(median, 2),
                            "device_iqr_us": round(iqr, 2),
                            "call_us": round(call_us(run), 2),
                            "read_us": round(read, 2),
                            "read_iqr_us": round(spread, 2),
                            "ratio_to_read": round(median / read, 3),
                            "logits_mb": round(bytes_ / 1e6, 2),
                        }
                    )
                    print(json.dumps(results[-1]), flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", choices=("cpu", "cuda"), help="the checks alone, on this device")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    mask = masks_module()
    device = args.check or "cuda"
    passed = check(mask, device)
    print(f"right against numpy: {passed}")
    if args.check:
        return
    gpu = torch.cuda.get_device_properties(0)
    report = {
        "benchmark": "bench_masks_apply",
        "machine": {**machine(), "gpu": gpu.name, "sms": gpu.multi_processor_count},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "triton": getattr(sys.modules.get("triton"), "__version__", None),
        },
        "seed": SEED,
        "vocabulary": V,
        "cases_checked": passed,
        "calls_a_graph": CALLS,
        "rounds": ROUNDS,
        "results": measure(mask),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(args.out)


if __name__ == "__main__":
    main()
