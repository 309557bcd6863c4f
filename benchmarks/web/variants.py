"""Forms of tier T2's kernels, each timed over operands that no cache holds."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from device import Gpu, Step
from plans import Decoder

from treadle.export import fast
from treadle.export.wgsl import Kernel

PAGE = 16
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


def tune(decoder: Decoder, shape: dict[str, int], seconds: float) -> dict[str, Any]:
    """Tries forms of one projection after another in the whole plan, at context 128, and leaves the
    best in `fast.TRIED`. A kernel's time alone says less: in a plan its instructions are cold.

    seconds: after so long no further form is tried; the likely ones come first.
    """
    begun, found = time.monotonic(), dict[str, Any]()

    def taken() -> float:
        decoder.lower()
        decoder.place(128)
        return decoder.gpu_ms()

    best = taken()
    found["before_ms"] = best
    for name in ("gate_up", "down", "qkv", "o", "head"):
        op, n, k = projections(shape)[name]
        key = (n * (2 if op == "glu" else 1), k)
        chosen, tried = fast.form_of(*key), dict[str, float]()
        for form in _forms(*key):
            if time.monotonic() - begun > seconds:
                break
            if form == chosen:
                continue
            fast.TRIED[key] = form
            ms = tried["/".join(map(str, form))] = taken()
            if ms < best:
                best, chosen = ms, form
        fast.TRIED[key] = chosen
        found[name] = {"form": chosen, "ms": best, "tried": tried}
        print("tune", name, found[name], flush=True)
    decoder.lower()
    return found


def rows(gpu: Gpu, shape: dict[str, int], budget: int) -> dict[str, Any]:
    """GB/s of each projection in its form over `budget` bytes of different matrices.

    gb_s: dispatches that depend on nothing, so that the next begins while one ends; us: each after
    the one before, as in a decode step, its launch included.
    """
    found: dict[str, Any] = {}
    for name, (op, n, k) in projections(shape).items():
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
        form = fast.form_of(count, k)
        kernel = _projection(op, n, k, form)
        free, after = (
            gpu.time(
                [
                    _step(
                        gpu, kernel, buffers | {"w": q, "scales": f, "out": outs[i % many]}, run,
                        (form.groups,),
                    )
                    for i, (q, f) in enumerate(held)
                ]
            )
            / copies
            for many in (OUTS, 1)
        )  # fmt: skip
        found[name] = {
            "rows": count, "columns": k, "bytes": size, "form": form,
            "gb_s": round(size / free / 1e9, 1), "us": round(after * 1e6, 2),
        }  # fmt: skip
        print(name, found[name], flush=True)
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
        for splits in (8, 16, 32):
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
    """Likely ones first, no more loads under way than a row has. Every device has 256 threads."""
    strips = max(1, columns // (32 * fast.SUBGROUP))
    tried = (
        (256, 528, 1, 2), (256, 264, 1, 4), (256, 264, 1, 2), (256, 528, 2, 2), (128, 1056, 1, 2),
        (256, 528, 1, 4), (128, 528, 1, 4), (256, 264, 2, 4), (256, 1056, 1, 2),
    )  # fmt: skip
    return list(
        dict.fromkeys(
            fast.Form(
                wg, min(n, -(-count // (wg // fast.SUBGROUP * each))), min(depth, strips), each
            )
            for wg, n, depth, each in tried
        )
    )


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
