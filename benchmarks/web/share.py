"""Decode on WebGPU beside native CUDA, on one GPU: the share of native speed.

    python benchmarks/web/share.py [--parts read,switch,tune,shares,rows,keys,pairs]
        [--shapes 8b,1b] [--lib FOLDER] [--seconds 25] [--tiny] [--out FILE]

read: what plain WGSL reads. switch: what a dispatch costs. tune: forms of the q4_0 projections, one
after another in the whole plan and alone; the best in the plan stay (variants.py; --seconds a
shape). shares: how attention shares its keys, in the whole plan. rows: each projection of the plan
alone, over the weights of many layers in one pass, by timestamps. keys: forms of attention. pairs:
tier T2's decode plan of a whole model, random weights, beside our CUDA kernels on 4-bit weights,
one an operator, as a CUDA graph (native.py), at every context in turns: GPU time of a step by
timestamps or events, wall time of steps queued ahead, wall time with a readback each. Shares are
medians of the pairs' ratios, native over web.

WebGPU is wgpu-py over Vulkan; timestamps are calibrated against wall time. --lib: compiled CUDA
kernels, see bench_kernels_cuda.py; without it the web's times stand alone. --tiny: everything
small, on any adapter. Needs numpy, wgpu, cffi, pycparser, rendercanvas, msgspec, safetensors,
tokenizers, and torch for --lib; Vulkan's loader and the driver's ICD (VK_DRIVER_FILES).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())

from device import Gpu
from plans import Decoder
from variants import SHARED, keys, rows, shares, tune

from treadle.export import fast

SHAPES = {
    "1b": {"layers": 16, "D": 2048, "H": 32, "K": 8, "d": 64, "F": 8192, "V": 128_256},
    "8b": {"layers": 32, "D": 4096, "H": 32, "K": 8, "d": 128, "F": 14_336, "V": 128_256},
}
TINY = {"layers": 2, "D": 256, "H": 4, "K": 2, "d": 64, "F": 512, "V": 2048}
CONTEXTS = (128, 1024, 4096)
MEASURES = ("gpu_ms", "queued_ms", "readback_ms")


def read_rate(gpu: Gpu, size: int) -> dict[str, float]:
    """GB/s of plain loads, by workgroups; four independent vec4<u32> a thread and turn."""
    source, out = gpu.storage(size), gpu.storage(1 << 20)
    gpu.fill(source, gpu.noise)
    found: dict[str, float] = {}
    for groups in (528, 1056, 2112):
        text = f"""
@group(0) @binding(0) var<storage, read> a: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
  const STEP = {groups * 256}u;
  var s = vec4<u32>();
  for (var i = id.x; i + 3u * STEP < {size // 16}u; i += 4u * STEP) {{
    let p = a[i];
    let q = a[i + STEP];
    let r = a[i + 2u * STEP];
    let t = a[i + 3u * STEP];
    s = (s ^ p) + (q ^ r) + t;
  }}
  if ((s.x ^ s.y ^ s.z ^ s.w) == 12345u) {{ out[id.x & 1023u] = s.x; }}
}}"""
        step = gpu.step(text, [source, out], (groups, 1, 1))
        seconds = gpu.time([step] * 4)
        found[str(groups)] = round(4 * size / seconds / 1e9, 1)
        print("read", groups, found[str(groups)], "GB/s", flush=True)
    source.destroy()
    return found


def switch(gpu: Gpu) -> dict[str, float]:
    """Microseconds of a small dispatch after the one before: of one pipeline, of two in turns."""
    out, steps = gpu.storage(1 << 16), list[Any]()
    for number in (1, 2):
        text = f"""
@group(0) @binding(0) var<storage, read_write> out: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{ out[id.x] = out[id.x] * {number}u; }}"""
        steps.append(gpu.step(text, [out], (132, 1, 1)))
    one, two = gpu.time([steps[0]] * 300), gpu.time(steps * 150)
    found = {"one": round(one / 3e-4, 3), "two": round(two / 3e-4, 3)}
    print("switch", found, flush=True)
    return found


def pairs(
    gpu: Gpu,
    shape: dict[str, int],
    contexts: tuple[int, ...],
    lib: Path | None,
    seconds: float,
    parts: list[str],
) -> Any:
    """Milliseconds a decode step of web and native, and the share."""
    usual = fast.SPLITS
    fast.SPLITS = max(usual, *(tried[0] for tried in SHARED)) if "shares" in parts else usual
    decoder = Decoder(gpu, shape, max(contexts))
    fast.SPLITS = usual
    decoder.lower()
    print("plan", decoder.dispatches, "dispatches,", decoder.weights / 1e9, "GB", flush=True)
    found: dict[str, Any] = {
        "dispatches": decoder.dispatches, "kernels": decoder.kernels, "bytes": decoder.weights,
    }  # fmt: skip
    if seconds:
        found["tune"] = tune(decoder, shape, seconds)
    if "shares" in parts:
        found["shares"] = shares(decoder, contexts[1:])
    decoder.place(contexts[0])
    if "rows" in parts:
        found["rows"] = rows(decoder)
    if "pairs" not in parts:
        return found | {"gpu_ms": decoder.gpu_ms(), "by_kernel_us": decoder.profile()}
    found["forms"] = {f"{n}x{k}": form for (n, k), form in fast.TRIED.items()}
    native = _native(lib, shape, max(contexts)) if lib else None
    if native is not None:
        found |= {"native_bytes": native.bytes, "native_matvecs": native.matvecs()}
        print("native", found["native_matvecs"], flush=True)
    for context in contexts:
        decoder.place(context)
        sides: dict[str, Any] = {"web": decoder}
        if native is not None:
            sides |= {"native": native.graph(context, 0), "overlap": native.graph(context, 1)}
        taken = _turns(sides)
        one: dict[str, Any] = {
            side: {m: _spread(values) for m, values in by.items()} for side, by in taken.items()
        }
        for side in sides.keys() - {"web"}:
            one[f"share_of_{side}"] = {
                m: _spread([n / w for n, w in zip(taken[side][m], taken["web"][m], strict=True)])
                for m in MEASURES
            }
        one["tb_s"] = round(decoder.weights / one["web"]["gpu_ms"][1] / 1e9, 3)
        one["by_kernel_us"] = decoder.profile()
        one["without_ms"] = {
            name: decoder.without(*name.split())
            for name in ("fast_attention", "fast_project", "fast_gate", "sample")
        }
        found[str(context)] = one
        print(context, one, flush=True)
    decoder.free()
    return found


def _native(lib: Path, shape: dict[str, int], longest: int) -> Any:
    from bench_kernels_cases import Library
    from native import Native

    begun = time.monotonic()
    made = Native(Library(lib), shape, longest)
    print(f"native ready after {time.monotonic() - begun:.0f} s, warps {made.warps}", flush=True)
    return made


def _turns(sides: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Five rounds in which each side is measured in turn, after one that does not count."""
    taken: dict[str, dict[str, list[float]]] = {s: {m: [] for m in MEASURES} for s in sides}
    for turn in range(6):
        for side, what in sides.items():
            for measure in MEASURES:
                run: Callable[[], float] = getattr(what, measure)
                value = run()
                if turn:
                    taken[side][measure].append(value)
    return taken


def _spread(values: list[float]) -> tuple[float, float, float]:
    """Least, median, most."""
    return tuple(round(f(values), 4) for f in (min, statistics.median, max))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default="read,switch,tune,rows,keys,pairs")
    parser.add_argument("--shapes", default="8b,1b")
    parser.add_argument("--lib", type=Path)
    parser.add_argument("--seconds", type=float, default=25.0)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("web_share.json"))
    given = parser.parse_args()
    parts = given.parts.split(",")
    names = ["tiny"] if given.tiny else given.shapes.split(",")
    shapes = {"tiny": TINY, **SHAPES}
    contexts = (20, 300) if given.tiny else CONTEXTS
    result: dict[str, Any] = {"contexts": contexts, "parts": parts}
    begun = time.monotonic()

    def part(name: str, key: str, run: Any) -> None:
        """One part; a failure is recorded, and the others go on."""
        if name not in parts:
            return
        try:
            result[key] = run()
        except Exception as error:
            result[key] = {"failed": f"{type(error).__name__}: {error}"[:2000]}
            print("FAILED", key, result[key]["failed"], flush=True)
        given.out.write_text(json.dumps(result, indent=1))
        print(f"-- {key} done at {time.monotonic() - begun:.0f} s", flush=True)

    gpu = Gpu()
    result["adapter"], result["tick_ns"] = gpu.name, gpu.tick
    print(gpu.name, "subgroup", gpu.subgroup, "tick", gpu.tick, flush=True)
    part("switch", "switch_us", lambda: switch(gpu))
    part("read", "read_gb_s", lambda: read_rate(gpu, (1 << 24) if given.tiny else (1 << 30)))
    for name in names:
        shape = shapes[name]
        seconds = given.seconds if "tune" in parts else 0.0
        part("keys", f"keys {name}", lambda s=shape: keys(gpu, s, contexts))
        part(
            next((p for p in ("pairs", "rows", "shares") if p in parts), "tune"), f"pairs {name}",
            lambda s=shape, t=seconds: pairs(gpu, s, contexts, given.lib, t, parts),
        )  # fmt: skip


if __name__ == "__main__":
    main()
