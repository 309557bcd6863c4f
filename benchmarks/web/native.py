"""A decode step of our own CUDA kernels on 4-bit weights, one kernel an operator, as a CUDA graph.

Eight kernels a layer, those of kernels/sources/cuda: norm; q, k, v; rotation with KV append;
attention; output projection onto the residual; norm; gate and up with activation; down onto the
residual.
Weights are w4g32, random: 4.5 bits each, as many as q4_0 has. Activations and KV are 16 bits wide.
"""

from __future__ import annotations

import ctypes
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import torch
from bench_kernels_cases import Library, normal, splits_for

PAGE = 16
WARPS = (0, 4, 8, 16)
i64 = ctypes.c_int64


class Native:
    """Weights of a shape, and a graph of a step for each context."""

    def __init__(self, lib: Library, shape: dict[str, int], longest: int) -> None:
        self.lib, self.shape = lib, shape
        D, F, V, d = shape["D"], shape["F"], shape["V"], shape["d"]
        self.width = (shape["H"] + 2 * shape["K"]) * d
        out = shape["H"] * d
        self.layers = [
            {
                "qkv": packed(self.width, D), "o": packed(D, out), "gate_up": packed(2 * F, D),
                "down": packed(D, F), "k": normal(longest + PAGE, shape["K"], d, by=0.1),
                "v": normal(longest + PAGE, shape["K"], d, by=0.1),
            }
            for _ in range(shape["layers"])
        ]  # fmt: skip
        self.head, self.table = packed(V, D), normal(1024, D, by=0.02)
        self.norm = torch.ones(D, device="cuda", dtype=torch.bfloat16)
        turns = torch.rand(longest + PAGE, d, device="cuda")
        self.turns = torch.cat((turns.cos(), turns.sin()), -1)[:, :d].contiguous()
        self.bytes = sum(
            w[name].nbytes for w in self.layers for name in ("qkv", "o", "gate_up", "down")
        )
        self.bytes += self.head.nbytes
        self.warps = {name: self._tune(name) for name in ("qkv", "o", "gate_up", "down")}
        self.warps["head"] = self._tune("head")

    def graph(self, context: int, overlap: int) -> Step:
        """A step that runs token `context - 1`."""
        return Step(self, context, overlap)

    def project(self, name: str, y: Any, x: Any, w: Any, overlap: int, warps: int = -1) -> None:
        """One projection of one row."""
        epilogue = {"o": 1, "down": 1, "gate_up": 2}.get(name, 0)
        rows = w.shape[0] // 2 if name == "gate_up" else w.shape[0]
        self.lib("treadle_gemm_w4g32_bf16", y, x, w, y if epilogue == 1 else None, 1, rows,
                 x.shape[-1], i64(x.shape[-1]), epilogue,
                 self.warps[name] if warps < 0 else warps, overlap)  # fmt: skip

    def matvecs(self) -> dict[str, dict[str, float]]:
        """Microseconds and GB/s of each projection over all layers' weights, in a graph."""
        found: dict[str, dict[str, float]] = {}
        for name, warps in self.warps.items():
            us, size = self._time(name, warps)
            found[name] = {"us": round(us, 2), "gb_s": round(size / us / 1e3, 1), "warps": warps}
        return found

    def _tune(self, name: str) -> int:
        return min(WARPS, key=lambda warps: self._time(name, warps)[0])

    def _time(self, name: str, warps: int) -> tuple[float, int]:
        sets = [self.head] * 2 if name == "head" else [one[name] for one in self.layers]
        D, F = self.shape["D"], self.shape["F"]
        columns = {"o": self.shape["H"] * self.shape["d"], "down": F}.get(name, D)
        x, y = normal(1, columns), normal(1, max(sets[0].shape[0], D))
        run = captured(lambda: [self.project(name, y, x, w, 0, warps) for w in sets])
        return timed(run, 7) * 1e3 / len(sets), sets[0].nbytes


class Step:
    """Buffers of one step and its graph."""

    def __init__(self, n: Native, context: int, overlap: int) -> None:
        shape, D, F = n.shape, n.shape["D"], n.shape["F"]
        H, K, d = shape["H"], shape["K"], shape["d"]
        pages = math.ceil(context / PAGE)
        self.token = torch.zeros(1, device="cuda", dtype=torch.int64)
        at = torch.tensor([context - 1], device="cuda")
        ptr, order = (torch.tensor(v, device="cuda", dtype=torch.int32)
                      for v in ([0, pages], list(range(pages))))  # fmt: skip
        last = torch.tensor([context - (pages - 1) * PAGE], device="cuda", dtype=torch.int32)
        h, qkv = normal(1, D), normal(1, n.width)
        q, o, f = normal(1, H, d), normal(1, H * d), normal(1, F)
        logits, lse = normal(1, shape["V"]), torch.zeros(1, H, device="cuda")
        splits = splits_for(1, K, context)
        work = torch.zeros(H * splits * (d + 2), device="cuda")
        arrived = torch.zeros(K, dtype=torch.int32, device="cuda")
        base = qkv.data_ptr()
        k_at, v_at = (ctypes.c_void_p(base + 2 * d * i) for i in (H, H + K))
        lib = n.lib

        def norm(y: Any, x: Any) -> None:
            lib("treadle_rmsnorm_bf16", y, None, x, None, n.norm, 1, D, i64(D), 1e-5, 0, 0, overlap)

        def step() -> None:
            x = n.table[self.token % 1024]
            y = torch.empty_like(x)
            for w in n.layers:
                norm(h, x)
                n.project("qkv", qkv, h, w["qkv"], overlap)
                lib("treadle_rope_bf16", q, w["k"], w["v"], qkv, k_at, v_at, n.turns, at, at, None,
                    None, 1, H, K, d, d // 2, i64(n.width), i64(n.width), i64(n.width), 1e-6,
                    overlap)  # fmt: skip
                lib("treadle_gqa_paged_decode_bf16", o, lse, q, w["k"], w["v"], ptr, order,
                    last, work, arrived, 1, H, K, d, PAGE, i64(H * d), splits, d**-0.5,
                    overlap)  # fmt: skip
                n.project("o", x, o, w["o"], overlap)
                norm(h, x)
                n.project("gate_up", f, h, w["gate_up"], overlap)
                n.project("down", x, f, w["down"], overlap)
            norm(y, x)
            n.project("head", logits, y, n.head, overlap)
            self.token.copy_(logits.argmax(-1))

        self.held = (at, ptr, order, last, h, qkv, q, o, f, logits, lse, work, arrived)
        self.run = captured(step)

    def gpu_ms(self) -> float:
        """By events around the graph."""
        return timed(self.run, 5)

    def queued_ms(self, count: int = 40) -> float:
        """Wall time a step, all queued, one wait at the end."""
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(count):
            self.run.replay()
        torch.cuda.synchronize()
        return (time.perf_counter() - begun) * 1e3 / count

    def readback_ms(self, count: int = 20) -> float:
        """Wall time a step, its token read before the next."""
        begun = time.perf_counter()
        for _ in range(count):
            self.run.replay()
            self.token.item()
        return (time.perf_counter() - begun) * 1e3 / count


def packed(rows: int, columns: int) -> Any:
    """Random codes and small scales, as w4g32 lays a row out."""
    size = (rows, columns // 2 + columns // 16)
    w = torch.randint(-128, 127, size, dtype=torch.int8, device="cuda")
    scales = torch.full((rows, columns // 32), 0.2 / math.sqrt(columns), device="cuda").half()
    w[:, columns // 2 :] = scales.view(torch.int8)
    return w


def captured(run: Any) -> Any:
    """A graph of what `run` starts."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph


def timed(graph: Any, rounds: int) -> float:
    """Milliseconds of a graph, the median after two."""
    found: list[float] = []
    for _ in range(rounds + 2):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end))
    return statistics.median(found[2:])
