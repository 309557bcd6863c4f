"""Variants of tier T2's kernels, each timed over operands that no cache holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from device import Gpu, Step

from treadle.export import fast
from treadle.export.wgsl import Kernel

PAGE = 16
GROUPS = (132, 264, 528, 1056, 0)
"""Workgroups of a projection; 0: as many as it has rows for."""


def rows(gpu: Gpu, shape: dict[str, int], budget: int) -> dict[str, Any]:
    """GB/s of each projection over `budget` bytes of different matrices: all forms, best first."""
    D, F, width = shape["D"], shape["F"], (shape["H"] + 2 * shape["K"]) * shape["d"]
    jobs = {
        "qkv": ("rmsnorm_linear", width, D), "o": ("linear_add", D, shape["H"] * shape["d"]),
        "gate_up": ("glu", F, D), "down": ("linear_add", D, F),
        "head": ("take_norm_linear", shape["V"], D),
    }  # fmt: skip
    found: dict[str, Any] = {}
    for name, (op, n, k) in jobs.items():
        count = n * (2 if op == "glu" else 1)
        size = count * k // 32 * 18
        copies = max(1, min(24, budget // size))
        held = [
            (gpu.storage(count * k // 2), gpu.storage(count * k // 16 + 16)) for _ in range(copies)
        ]
        for quants, scales in held:
            gpu.fill(quants, gpu.noise)
            gpu.fill(scales, gpu.scales)
        x, norm, y = gpu.storage(4 * k), gpu.storage(4 * k), gpu.storage(4 * n)
        outs = [gpu.storage(4 * n) for _ in range(2)]
        buffers = {"x": x, "norm": norm, "y": y, "batch": gpu.storage(256)}
        run = gpu.uniform({"T": 1, "R": 1})
        tried: list[dict[str, Any]] = []
        for wg, groups, pair in _forms(gpu, count):
            kernel = _projection(op, n, k, wg, groups, pair)
            steps = [
                _step(
                    gpu, kernel, buffers | {"w": q, "scales": f, "out": outs[i % 2]}, run, (groups,)
                )
                for i, (q, f) in enumerate(held)
            ]
            seconds = gpu.time(steps, 5) / copies
            rate = round(size / seconds / 1e9, 1)
            one = {"gb_s": rate, "us": round(seconds * 1e6, 2), "wg": wg, "groups": groups}
            tried.append(one | {"pair": pair})
        tried.sort(key=lambda one: -one["gb_s"])
        found[name] = {"rows": count, "columns": k, "matrices": copies, "forms": tried}
        print(name, tried[:3], "...", tried[-1], flush=True)
        for one in (*(b for pair in held for b in pair), *outs, *buffers.values()):
            one.destroy()
    return found


def keys(gpu: Gpu, shape: dict[str, int], contexts: tuple[int, ...]) -> dict[str, Any]:
    """Microseconds of attention at each context, by threads and by most shares of the keys."""
    heads = (shape["H"], shape["K"], shape["d"])
    attrs = {"scale": shape["d"] ** -0.5, "rotary": shape["d"] // 2, "mscale": 1.0, "eps": 1e-5}
    pages, copies = -(-max(contexts) // PAGE), 8
    words = 2 * PAGE * heads[1] * heads[2] // 2
    caches = [gpu.storage(4 * words * pages) for _ in range(copies)]
    for cache in caches:
        gpu.fill(cache, gpu.scales)
    qkv, freq = gpu.storage(4 * (heads[0] + 2 * heads[1]) * heads[2]), gpu.storage(1024)
    outs = [gpu.storage(8 * fast.share_width(heads)) for _ in range(2)]
    found: dict[str, Any] = {}
    default = fast.SPLITS
    for context in contexts:
        L = -(-context // PAGE)
        at = {"ids": 0, "pos": 1, "slots": 2, "starts": 3, "lens": 5, "rows": 6, "table": 7}
        data = [1, context - 1, context - 1, 0, 1, context, 0, *range(L)]
        batch = gpu.storage(4 * len(data))
        gpu.queue.write_buffer(batch, 0, np.array(data, np.int32))
        run = gpu.uniform({"T": 1, "S": 1, "R": 1, "L": L, "P": pages} | at)
        tried: list[dict[str, Any]] = []
        for splits in (4, 8, 16):
            fast.SPLITS = splits  # what a kernel is printed with
            z = min(splits, -(-L // fast.SHARE))
            for wg in (64, 128, 256):
                kernel = fast.attention_step(heads, PAGE, attrs, (), wg=wg)
                buffers = {"qkv": qkv, "freq": freq, "batch": batch}
                grid = (heads[1], 1, z)
                steps = [
                    _step(gpu, kernel, buffers | {"kv": c, "out": outs[i % 2]}, run, grid)
                    for i, c in enumerate(caches)
                ]
                seconds = gpu.time(steps, 5) / copies
                tried.append({"us": round(seconds * 1e6, 2), "wg": wg, "splits": splits})
        fast.SPLITS = default
        tried.sort(key=lambda one: one["us"])
        found[str(context)] = tried
        print("keys", context, tried[:3], "...", tried[-1], flush=True)
    for one in (*caches, *outs, qkv, freq):
        one.destroy()
    return found


def _forms(gpu: Gpu, count: int) -> list[tuple[int, int, bool]]:
    """Threads, workgroups, and whether a lane has two blocks under way."""
    forms: list[tuple[int, int, bool]] = []
    for wg in (128, 256, 512):
        most = -(-count // (wg // gpu.subgroup * 4))
        for groups in sorted({min(n or most, most) for n in GROUPS}):
            forms += [(wg, groups, pair) for pair in (False, True)]
    return forms


def _projection(op: str, n: int, k: int, wg: int, groups: int, pair: bool) -> Kernel:
    form: dict[str, Any] = {"wg": wg, "turn": groups, "pair": pair}
    if op == "glu":
        return fast.gate_up_glu("q4_0", n, k, act="silu", eps=1e-5, **form)
    eps = 1e-5 if "norm" in op else None
    return fast.project(op, "q4_0", n, k, eps=eps, **form)


def _step(
    gpu: Gpu, kernel: Kernel, buffers: dict[str, Any], run: Any, grid: tuple[int, ...]
) -> Step:
    bound = [buffers[b.name] for b in kernel.bindings]
    bound += [run] if "var<uniform>" in kernel.text else []
    x, y, z = (*grid, 1, 1)[:3]
    return gpu.step(kernel.text, bound, (x, y, z))
