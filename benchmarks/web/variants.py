"""Forms of tier T2's kernels, each timed over operands that no cache holds."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
from device import Gpu, Step
from plans import Decoder

from treadle.export import fast
from treadle.export.wgsl import Kernel

PAGE = 16
SHARED = (
    (16, 8, 512, 4), (16, 8, 512, 8), (16, 8, 256, 4), (8, 8, 512, 4), (32, 8, 256, 8),
    (16, 4, 512, 4),
)  # fmt: skip
"""SPLITS, SHARE, SPAN and SHARES of `fast` that are tried."""


def projections(shape: dict[str, int]) -> dict[str, tuple[int, int, int, bool]]:
    """Name -> (rows, columns, unit, staged) as `fast.form_of` takes them."""
    D, F, width = shape["D"], shape["F"], (shape["H"] + 2 * shape["K"]) * shape["d"]
    whole = 4 if fast.packs_whole(D) else 0
    return {
        "qkv": (width, D, 0, False), "o": (D, shape["H"] * shape["d"], whole, True),
        "gate_up": (2 * F, D, 8, False), "down": (D, F, whole, False),
        "head": (shape["V"], D, 0, False),
    }  # fmt: skip


def tune(decoder: Decoder, shape: dict[str, int], seconds: float) -> dict[str, Any]:
    """Tries forms of one projection after another in the whole plan, at context 128, and leaves the
    best in `fast.TRIED`. What a form reads alone (gb_s, see `rows`) says less: there one dispatch
    begins while another ends, in a plan it waits, and what counts is how long the longest thread is
    at work.

    seconds: after so long no further projection is tried.
    """
    begun, found = time.monotonic(), dict[str, Any]()
    for name, (n, k, unit, staged) in projections(shape).items():
        if time.monotonic() - begun > seconds:
            break
        key = (n, k)
        plans: dict[fast.Form, list[Step]] = {}
        rates: dict[str, float] = {}
        for form in dict.fromkeys((fast.form_of(*key, unit, staged), *_forms(*key, unit))):
            fast.TRIED[key] = form
            decoder.lower()
            decoder.place(128)
            plans[form] = decoder.steps
            rates["/".join(map(str, form))] = rows(decoder, name)[name]["gb_s"]
        tried = turns(decoder.gpu, plans)
        fast.TRIED[key] = min(tried, key=lambda form: tried[form])
        found[name] = {
            "form": fast.TRIED[key],
            "ms": {"/".join(map(str, f)): t for f, t in tried.items()},
            "gb_s": rates,
        }
        print("tune", name, found[name], flush=True)
    decoder.lower()
    return found


def turns(gpu: Gpu, plans: dict[Any, list[Step]], rounds: int = 3) -> dict[Any, float]:
    """Milliseconds of each, the median of rounds in which all are measured in turn."""
    taken: dict[Any, list[float]] = {name: [] for name in plans}
    for _ in range(rounds):
        for name, steps in plans.items():
            taken[name].append(gpu.time(steps, 7) * 1e3)
    return {name: round(statistics.median(times), 4) for name, times in taken.items()}


def shares(decoder: Decoder, contexts: tuple[int, ...]) -> dict[str, dict[str, float]]:
    """GPU milliseconds of the whole plan at each context, by how attention shares its keys."""
    found: dict[str, dict[str, float]] = {}
    before = (fast.SPLITS, fast.SHARE, fast.SPAN, fast.SHARES)
    for context in contexts:
        plans: dict[str, list[Step]] = {}
        for tried in SHARED:
            fast.SPLITS, fast.SHARE, fast.SPAN, fast.SHARES = tried
            decoder.lower()
            decoder.place(context)
            plans["/".join(map(str, tried))] = decoder.steps
        found[str(context)] = turns(decoder.gpu, plans)
        print("shares", context, found[str(context)], flush=True)
    fast.SPLITS, fast.SHARE, fast.SPAN, fast.SHARES = before
    decoder.lower()
    return found


def rows(decoder: Decoder, *only: str) -> dict[str, Any]:
    """GB/s of each projection, or of some, over the weights of all layers but the first.

    gb_s: dispatches that depend on nothing, each with outputs of its own, so that the next begins
    while one ends; us: each after the one before, as in a decode step, its launch included;
    plain_gb_s: as `gb_s`, of dispatches that do nothing but read the same bytes, the best of three
    grids; of_plain: the ratio of the two, least, median, most. Five rounds measure all in turn.
    """
    gpu, found = decoder.gpu, dict[str, Any]()
    for name, places in decoder.projections().items():
        if only and name not in only:
            continue
        sets = [decoder.weights_of(place) for place in places]
        own: list[Any] = []
        while len(sets) < 4:  # copies, so that no cache holds them
            own += (copies := [gpu.storage(one.size) for one in sets[0]])
            for copy, fill in zip(copies, (gpu.noise, gpu.scales), strict=True):
                gpu.fill(copy, fill)
            sets.append(copies)
        size = sum(one.size for one in sets[0])
        outs = [gpu.storage(4096) for _ in sets]
        sides = {
            "free": [decoder.apart(places[0], one) for one in sets],
            "after": [decoder.steps[place] for place in places],
        }
        for groups in READERS:
            sides[f"plain {groups}"] = [
                gpu.step(_read(q.size, f.size, groups), [q, f, out], (groups, 1, 1))
                for (q, f), out in zip(sets, outs, strict=True)
            ]
        taken: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(5):
            for side, steps in sides.items():
                taken[side].append(gpu.time(steps, 7) / len(steps))
        plain = [min(taken[f"plain {groups}"][i] for groups in READERS) for i in range(5)]
        ratios = [p / f for p, f in zip(plain, taken["free"], strict=True)]
        rate = {
            n: size / statistics.median(s) / 1e9
            for n, s in (("", taken["free"]), ("plain_", plain))
        }
        found[name] = {
            "bytes": size, **{f"{n}gb_s": round(r, 1) for n, r in rate.items()},
            "us": round(statistics.median(taken["after"]) * 1e6, 2),
            "of_plain": [round(f(ratios), 4) for f in (min, statistics.median, max)],
        }  # fmt: skip
        print(name, found[name], flush=True)
        for one in (*own, *outs):
            one.destroy()
    return found


READERS = (264, 528, 1056)
"""Workgroups of plain reads."""


def _read(quants: int, scales: int, groups: int) -> str:
    """Plain loads of two buffers, four independent vec4<u32> a thread and turn."""
    loops = "".join(
        f"""
  for (var i = id.x; i < {size // 16}u; i += 4u * STEP) {{
    let p = {name}[i];
    let q = {name}[min(i + STEP, {size // 16 - 1}u)];
    let r = {name}[min(i + 2u * STEP, {size // 16 - 1}u)];
    let t = {name}[min(i + 3u * STEP, {size // 16 - 1}u)];
    s = (s ^ p) + (q ^ r) + t;
  }}"""
        for name, size in (("a", quants), ("b", scales))
    )
    return f"""
@group(0) @binding(0) var<storage, read> a: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
  const STEP = {groups * 256}u;
  var s = vec4<u32>();{loops}
  if ((s.x ^ s.y ^ s.z ^ s.w) == 12345u) {{ out[id.x & 1023u] = s.x; }}
}}"""


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


def _forms(rows: int, columns: int, unit: int) -> list[fast.Form]:
    """Every device has 256 threads. unit: see `fast.form_of`."""
    blocks, found = columns // 32, list[fast.Form]()
    for held in (1, 2, 4):
        span = -(-blocks // (8 * held)) * 8
        for teams in (1, 2, 4, 8):
            for turns in (unit // teams, 2 * unit // teams) if unit else (1, 2, 4, 8):
                if 64 <= span * teams <= 256 and 1 <= turns <= span // 4:
                    found.append(fast.Form(span, held, teams, turns))
    return [form for form in found if fast.grid(rows, form) >= 64]


def _step(
    gpu: Gpu, kernel: Kernel, buffers: dict[str, Any], run: Any, grid: tuple[int, ...]
) -> Step:
    bound = [buffers[b.name] for b in kernel.bindings]
    bound += [run] if "var<uniform>" in kernel.text else []
    x, y, z = (*grid, 1, 1)[:3]
    return gpu.step(kernel.text, bound, (x, y, z))
