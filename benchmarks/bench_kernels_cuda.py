"""Checks the CUDA decode kernels against float64 and times them on one Hopper GPU.

Times come from CUDA graphs of many calls over rotating buffers that together exceed the L2 three
times, so that weights and caches are cold as in a decode step. Kernel and baseline alternate in
rounds; a figure is the median over rounds of the time of a call, launch gaps included. `overlap`
is the same with programmatic dependent launch.

    python benchmarks/bench_kernels_cuda.py --lib FOLDER [--only check|gemm|rest] [--out FILE]

FOLDER holds kernels/sources/cuda/*.cu compiled as
    nvcc -shared -Xcompiler -fPIC -std=c++17 -O3 -gencode=arch=compute_90a,code=sm_90a -o X.so X.cu
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench_kernels_cases as cases
import torch
from bench_kernels_cases import Case, Library

DATASHEET = 4.8e12  # bytes a second of an H200
L2 = 60e6


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest relative L2 error of a row; infinite where infinities or NaN differ."""
    if not found.numel():
        return 0.0
    found = found.double().reshape(-1, found.shape[-1])
    wanted = wanted.double().reshape(-1, wanted.shape[-1])
    same = torch.isinf(wanted) & (found == wanted)
    if not bool((torch.isfinite(found) | same).all()):
        return math.inf
    found, wanted = (torch.where(same, 0.0, t) for t in (found, wanted))
    norm = wanted.norm(dim=-1)
    return float(((found - wanted).norm(dim=-1) / torch.where(norm > 0, norm, 1.0)).max())


def check(case: Case, report: list[dict[str, Any]]) -> None:
    """Every variant, plain and overlapped, on fresh inputs."""
    case.notes["wide"] = True
    worst = 0.0
    for variant in case.variants:
        for overlap in (0, 1):
            inputs = case.make()
            wanted = case.reference(inputs)
            found = case.read(inputs, *case.run(inputs, overlap=overlap, variant=variant))
            torch.cuda.synchronize()
            for out, ref in zip(found, wanted, strict=True):
                worst = max(worst, error(out, ref))
    case.notes.pop("wide")
    ok = worst <= case.tolerance
    report.append(
        {"case": case.name, **case.shape, "error": worst, "limit": case.tolerance, "ok": ok}
    )
    if not ok:
        print("WRONG", report[-1])


class Timed:
    """A captured graph of `calls` calls over several input sets."""

    def __init__(
        self, function: Callable[[dict[str, Any]], Any], sets: list[Any], calls: int
    ) -> None:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for inputs in sets[:2]:
                function(inputs)
        torch.cuda.synchronize()
        self.graph, self.calls = torch.cuda.CUDAGraph(), calls
        with torch.cuda.graph(self.graph):
            for i in range(calls):
                function(sets[i % len(sets)])

    def once(self) -> float:
        """Microseconds a call."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        self.graph.replay()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e3 / self.calls


def rounds(timed: dict[str, Timed], count: int) -> dict[str, float]:
    """Median microseconds a call of each, measured in turns."""
    found: dict[str, list[float]] = {name: [] for name in timed}
    for graph in timed.values():
        graph.once()
    for _ in range(count):
        for name, graph in timed.items():
            found[name].append(graph.once())
    return {name: statistics.median(values) for name, values in found.items()}


def measure(case: Case, bandwidth: float, *, count: int = 7) -> dict[str, Any]:
    """All variants and baselines of a case."""
    case.notes["baseline"] = True
    one = case.make()
    size = sum(t.nbytes for t in one.values() if isinstance(t, torch.Tensor))
    n = int(max(2, min(48, math.ceil(3 * L2 / max(size, 1)))))
    sets = [one, *(case.make() for _ in range(n - 1))]
    case.notes.pop("baseline")
    calls = max(n, min(192, math.ceil(300e-6 / max(case.bytes / bandwidth, 2e-6))))
    timed: dict[str, Timed] = {}
    for variant in case.variants:
        for overlap in (0, 1):
            timed[f"v{variant}" + ("+" if overlap else "")] = Timed(
                lambda a, v=variant, o=overlap: case.run(a, overlap=o, variant=v), sets, calls
            )
    for name, function in case.baselines.items():
        timed[name] = Timed(function, sets, calls)
    times = rounds(timed, count)
    plain = {k: v for k, v in times.items() if k[0] == "v" and k[-1] != "+"}
    overlapped = {k: v for k, v in times.items() if k[0] == "v" and k[-1] == "+"}
    best, best_over = (
        min(plain, key=lambda k: plain[k]),
        min(overlapped, key=lambda k: overlapped[k]),
    )
    base = {k: v for k, v in times.items() if k in case.baselines}
    floor = case.bytes / DATASHEET * 1e6
    row = {
        "case": case.name, **case.shape, "bytes": case.bytes, "floor_us": floor,
        "copy_floor_us": case.bytes / bandwidth * 1e6, "best": best, "us": plain[best],
        "best_overlap": best_over, "overlap_us": overlapped[best_over], "baselines_us": base,
        "share_of_roofline": floor / plain[best], "share_overlap": floor / overlapped[best_over],
        "times_us": times, "sets": n, "calls": calls,
    }  # fmt: skip
    rival = min(base.values()) if base else math.nan
    shape = " ".join(f"{k}{v}" for k, v in case.shape.items())
    print(
        f"{case.name:20s} {shape:42s} {plain[best]:7.2f} {best:4s} {overlapped[best_over]:7.2f} "
        f"{best_over:4s} base {rival:7.2f} floor {floor:6.2f} "
        f"roof {row['share_of_roofline']:.2f}/{row['share_overlap']:.2f}",
        flush=True,
    )
    return row


def copy_bandwidth() -> float:
    """Bytes a second, read plus written, of a large device-to-device copy."""
    source = torch.randint(0, 255, (1 << 30,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    times: list[float] = []
    for _ in range(9):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return 2 * source.nbytes / statistics.median(times)


def sampling(lib: Library, report: list[dict[str, Any]], bandwidth: float) -> list[dict[str, Any]]:
    """Support and a G-test of many draws; then times against a sort and a plain multinomial."""
    V, rows = 128_256, 64
    for temperature, k, p in (
        (1.0, 0, 1.0),
        (1.0, 40, 1.0),
        (0.7, 0, 0.9),
        (1.0, 50, 0.8),
        (0.0, 0, 1.0),
    ):
        logits = torch.randn(V, device="cuda") * 2.5
        heat = torch.full((rows,), temperature, device="cuda")
        ks, ps = (
            torch.full((rows,), k, device="cuda", dtype=torch.int32),
            torch.full((rows,), p, device="cuda"),
        )
        probs = torch.softmax(logits.double() / max(temperature, 1e-3), -1)
        keep = probs.clone()
        if temperature == 0:
            keep = torch.zeros_like(probs).scatter_(0, logits.argmax().view(1), 1.0)
        if k:
            keep[keep < keep.topk(k).values[-1]] = 0
            keep /= keep.sum()
        if p < 1:
            values, order = keep.sort(descending=True)
            values[(values.cumsum(0) - values) > p] = 0
            keep = torch.zeros_like(keep).scatter_(0, order, values)
        keep /= keep.sum()
        inputs = logits.expand(rows, V).contiguous()
        out = torch.full((rows,), -7, device="cuda", dtype=torch.int64)
        drawn = []
        for seed in range(300):
            lib(
                "treadle_sample_f32",
                out,
                inputs,
                ks,
                ps,
                heat,
                rows,
                V,
                cases.ctypes.c_uint64(seed * 7919 + 1),
                0,
            )
            drawn.append(out.clone())
        ids = torch.cat(drawn)
        counts = torch.bincount(ids.clamp(min=0), minlength=V).double()
        outside = int(counts[keep == 0].sum()) + int((ids < 0).sum())
        expected = keep * len(ids)
        big = expected >= 20
        tail = counts[~big].sum(), expected[~big].sum()
        g = (
            2
            * (counts[big] * torch.log(counts[big].clamp(min=1e-9) / expected[big]))[
                counts[big] > 0
            ].sum()
        )
        if float(tail[1]) > 20:
            g = g + 2 * tail[0] * torch.log(tail[0] / tail[1])
        freedom = max(1, int(big.sum()) - (0 if float(tail[1]) > 20 else 1))
        z = (float(g) - freedom) / math.sqrt(2 * freedom)
        ok = outside == 0 and abs(z) < 5
        given = {"case": "sample", "temperature": temperature, "k": k, "p": p}
        report.append(
            {**given, "outside": outside, "g": float(g), "freedom": freedom, "z": z, "ok": ok}
        )
        if not ok:
            print("WRONG", report[-1])
    results = []
    for b in (1, 4, 16, 64):
        for k, p in ((0, 1.0), (40, 0.95), (0, 0.9)):
            case = cases.sample(lib, b, V, k, p)
            results.append(measure(case, bandwidth))
    return results


def checks(lib: Library) -> list[Case]:
    """Small and awkward shapes."""
    found = [
        cases.rmsnorm(lib, T, D, fused=f)
        for T in (0, 1, 5)
        for D in (8, 576, 2048, 7168, 16384)
        for f in (False, True)
    ]
    found += [cases.silu_and_mul(lib, T, F) for T in (0, 1, 7) for F in (8, 1536, 14336)]
    for norm in (False, True):
        for cache in (False, True):
            found += [cases.rope(lib, 3, 9, 3, 64, 32, norm=norm, cache=cache),
                      cases.rope(lib, 1, 32, 8, 128, 64, norm=norm, cache=cache),
                      cases.rope(lib, 5, 6, 2, 128, 32, norm=norm, cache=cache)]  # fmt: skip
    for bits in (16, 4):
        for M in (1, 3, 8, 11, 16):
            for N, K in ((16, 256), (48, 2048), (576, 1536), (2048, 14336)):
                for epilogue in ("plain", "add", "gate"):
                    found.append(cases.gemm(lib, M, N, K, bits=bits, epilogue=epilogue))
    for H, K in ((9, 3), (32, 8), (16, 2), (16, 1), (5, 1), (64, 4)):
        for d in (64, 128):
            found += [cases.gqa(lib, 4, H, K, d, 1, [1, 17, 300, 64]),
                      cases.gqa(lib, 3, H, K, d, 16, [5, 0, 1000]),
                      cases.gqa(lib, 1, H, K, d, 64, [129], splits=1),
                      cases.gqa(lib, 2, H, K, d, 16, [4000, 1], splits=7)]  # fmt: skip
    return found


PROJECTIONS = (
    (3072, 2048, "plain"),
    (2048, 2048, "add"),
    (8192, 2048, "gate"),
    (2048, 8192, "add"),
    (6144, 4096, "plain"),
    (4096, 4096, "add"),
    (14336, 4096, "gate"),
    (4096, 14336, "add"),
    (28672, 4096, "plain"),
)
"""N, K and epilogue: qkv, output, gate and up, down of both models; gate and up unfused."""


def gemms(lib: Library) -> list[Case]:
    """Projections of Llama-3.2-1B and Llama-3.1-8B."""
    found: list[Case] = []
    for bits in (16, 4):
        for M in (1, 4, 8, 16):
            for N, K, epilogue in PROJECTIONS:
                found.append(cases.gemm(lib, M, N, K, bits=bits, epilogue=epilogue))
            found.append(cases.gemm(lib, M, 128256, 2048, bits=bits))
    return found


def rest(lib: Library) -> list[Case]:
    """Norms, gates, rotations and attention of the same models."""
    found: list[Case] = []
    for T in (1, 4, 16, 64):
        for D in (2048, 4096):
            found += [cases.rmsnorm(lib, T, D, fused=f) for f in (False, True)]
        found += [cases.silu_and_mul(lib, T, F) for F in (8192, 14336)]
        found += [cases.rope(lib, T, 32, 8, 64, 32, norm=False, cache=True),
                  cases.rope(lib, T, 32, 8, 128, 64, norm=True, cache=True),
                  cases.rope(lib, T, 32, 8, 128, 32, norm=False, cache=False)]  # fmt: skip
    for b in (1, 4, 16):
        for n in (128, 1024, 8192, 32768):
            if b * n > 200_000:
                continue
            for H, K, d in ((32, 8, 64), (32, 8, 128), (32, 4, 128)):
                case = cases.gqa(lib, b, H, K, d, 16, [n] * b)
                s = case.shape["splits"]
                case.variants = tuple(sorted({max(1, n) for n in (s // 4, s // 2, s * 3 // 4, s)}))
                found.append(case)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lib", type=Path, required=True)
    parser.add_argument("--only", default="check,gemm,rest,sample")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float, default=160)
    args = parser.parse_args()
    start = time.time()
    torch.manual_seed(0)
    lib = Library(args.lib)
    only = args.only.split(",")
    bandwidth = copy_bandwidth()
    report: list[dict[str, Any]] = []
    figures: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda,
        "copy_gb_s": bandwidth / 1e9, "checks": report, "results": [],
    }  # fmt: skip
    print(f"copy {bandwidth / 1e12:.2f} TB/s")
    if "check" in only:
        for case in checks(lib):
            try:
                check(case, report)
            except RuntimeError as problem:
                report.append(
                    {"case": case.name, **case.shape, "ok": False, "problem": str(problem)}
                )
                print("FAILED", report[-1])
                if "CUDA error: " in str(problem):
                    break
        print(
            f"checked {len(report)}, wrong {sum(not r['ok'] for r in report)}, "
            f"{time.time() - start:.0f} s"
        )
    if "sample" in only:
        figures["results"] += sampling(lib, report, bandwidth)
    listed = (gemms(lib) if "gemm" in only else []) + (rest(lib) if "rest" in only else [])
    for case in listed:
        if time.time() - start > args.seconds:
            print("out of time before", case.name, case.shape)
            break
        figures["results"].append(measure(case, bandwidth))
        torch.cuda.empty_cache()
    if args.out:
        args.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
