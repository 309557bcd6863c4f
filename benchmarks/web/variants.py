"""Forms of tier T2's kernels, each timed over operands that no cache holds."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from device import Gpu, Step

from treadle.export import fast
from treadle.export.wgsl import Kernel

PAGE = 16
GROUPS = (264, 132, 528, 0)
"""Workgroups of a projection; 0: as many as it has rows for."""
OUTS = 12
"""Buffers that dispatches write in turn: those that write the same one wait for each other."""


def projections(shape: dict[str, int]) -> dict[str, tuple[str, int, int]]:
    """Name -> (op, rows of the output, columns)."""
    D, F, width = shape["D"], shape["F"], (shape["H"] + 2 * shape["K"]) * shape["d"]
    return {
        "qkv": ("rmsnorm_linear", width, D), "o": ("linear_add", D, shape["H"] * shape["d"]),
        "gate_up": ("glu", F, D), "down": ("linear_add", D, F),
        "head": ("take_norm_linear", shape["V"], D),
    }  # fmt: skip


def rows(gpu: Gpu, shape: dict[str, int], budget: int, seconds: float) -> dict[str, Any]:
    """GB/s of each projection over `budget` bytes of different matrices: all forms, best first.

    gb_s: dispatches that depend on nothing, so that the next begins while one ends; us: each after
    the one before, as in a decode step, its launch included. seconds: after so long no further
    form is tried; the likely ones come first. The best, by us, goes to `fast.TRIED`.
    """
    found: dict[str, Any] = {}
    jobs = projections(shape)
    for name, (op, n, k) in jobs.items():
        begun = time.monotonic()
        count = n * (2 if op == "glu" else 1)
        size = count * k // 32 * 18
        copies = max(2, min(24, budget // size))
        held = [
            (gpu.storage(count * k // 2), gpu.storage(count * k // 16 + 16)) for _ in range(copies)
        ]
        for quants, scales in held:
            gpu.fill(quants, gpu.noise)
            gpu.fill(scales, gpu.scales)
        x, norm, y = gpu.storage(4 * k), gpu.storage(4 * k), gpu.storage(4 * n)
        outs = [gpu.storage(4 * n) for _ in range(OUTS)]
        buffers = {"x": x, "norm": norm, "y": y, "batch": gpu.storage(256)}
        run = gpu.uniform({"T": 1, "R": 1})
        tried: list[dict[str, Any]] = []
        for form in _forms(count, k):
            if tried and time.monotonic() - begun > seconds / len(jobs):
                break
            kernel = _projection(op, n, k, form)
            apart, chained = (
                [
                    _step(
                        gpu, kernel, buffers | {"w": q, "scales": f, "out": outs[i % many]}, run,
                        (form.groups,),
                    )
                    for i, (q, f) in enumerate(held)
                ]
                for many in (OUTS, 1)
            )  # fmt: skip
            free, after = gpu.time(apart, 5) / copies, gpu.time(chained, 5) / copies
            rate = round(size / free / 1e9, 1)
            tried.append({"gb_s": rate, "us": round(after * 1e6, 2), **form._asdict()})
        tried.sort(key=lambda one: one["us"])
        fast.TRIED[count, k] = fast.Form(*(tried[0][f] for f in fast.Form._fields))
        found[name] = {
            "rows": count, "columns": k, "bytes": size, "matrices": copies,
            "best_gb_s": max(one["gb_s"] for one in tried), "forms": tried,
        }  # fmt: skip
        print(name, len(tried), tried[:3], "best", found[name]["best_gb_s"], flush=True)
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
    out = gpu.storage(8 * fast.share_width(heads))
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
        for splits in (8, 16):
            fast.SPLITS = splits  # what a kernel is printed with
            z = min(splits, -(-L // fast.SHARE))
            for wg in (128, 256):
                kernel = fast.attention_step(heads, PAGE, attrs, (), wg=wg)
                buffers = {"qkv": qkv, "freq": freq, "batch": batch, "out": out}
                grid = (heads[1], 1, z)
                steps = [_step(gpu, kernel, buffers | {"kv": c}, run, grid) for c in caches]
                seconds = gpu.time(steps, 5) / copies
                tried.append({"us": round(seconds * 1e6, 2), "wg": wg, "splits": splits})
        fast.SPLITS = default
        tried.sort(key=lambda one: one["us"])
        found[str(context)] = tried
        print("keys", context, tried, flush=True)
    for one in (*caches, out, qkv, freq):
        one.destroy()
    return found


def _forms(count: int, columns: int) -> list[fast.Form]:
    """Likely ones first: threads that fit a multiprocessor, no more loads than a row has."""
    forms: list[fast.Form] = []
    strips = max(1, columns // (32 * fast.SUBGROUP))
    for wg, depths in ((256, (4, 2, 8)), (512, (2, 4)), (128, (4, 2)), (1024, (1, 2))):
        most = -(-count // (wg // fast.SUBGROUP * 4))
        groups = dict.fromkeys(min(n or most, most) for n in GROUPS)
        forms += [
            fast.Form(wg, n, depth)
            for depth in dict.fromkeys(min(d, strips) for d in depths)
            for n in groups
            if wg * n <= 132 * 2048 or n == most
        ]
    chosen = fast.form_of(count, columns)
    return [chosen, *(one for one in dict.fromkeys(forms) if one != chosen)]


def _projection(op: str, n: int, k: int, form: fast.Form) -> Kernel:
    if op == "glu":
        return fast.gate_up_glu("q4_0", n, k, act="silu", eps=1e-5, form=form)
    eps = 1e-5 if "norm" in op else None
    return fast.project(op, "q4_0", n, k, eps=eps, form=form)


def _step(
    gpu: Gpu, kernel: Kernel, buffers: dict[str, Any], run: Any, grid: tuple[int, ...]
) -> Step:
    bound = [buffers[b.name] for b in kernel.bindings]
    bound += [run] if "var<uniform>" in kernel.text else []
    x, y, z = (*grid, 1, 1)[:3]
    return gpu.step(kernel.text, bound, (x, y, z))
