"""Decode on WebGPU beside the native CUDA backend, on one GPU: the share of native speed.

    python benchmarks/web/share.py [--parts read,rows,keys,plan,native] [--shapes 1b,8b] [--tiny]

read: what plain WGSL reads. rows, keys: variants of each q4_0 projection of the shape and of its
attention, many different operands in one pass, by timestamps (variants.py). plan: tier T2's decode
plan of a whole model, random weights: GPU time of a step, wall time of steps queued ahead, wall
time with a readback each. native: the torch backend
with CUDA graphs at the same contexts, bfloat16, since it has no 4-bit weights: bytes differ by
3.6, so shares are also given against the time that reading 4.5 bits at its own rate would take.

WebGPU is wgpu-py over Vulkan; `--tiny` runs everything small, on any adapter. Timestamps are
calibrated against wall time. Needs numpy, wgpu, cffi, pycparser, rendercanvas, msgspec,
safetensors, tokenizers, and for `native` torch; plus Vulkan's loader and the driver's ICD
(VK_DRIVER_FILES).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())

from device import Gpu
from plans import Decoder, model
from variants import keys, rows

SHAPES = {
    "1b": {"layers": 16, "D": 2048, "H": 32, "K": 8, "d": 64, "F": 8192, "V": 128_256},
    "8b": {"layers": 32, "D": 4096, "H": 32, "K": 8, "d": 128, "F": 14_336, "V": 128_256},
}
TINY = {"layers": 2, "D": 256, "H": 4, "K": 2, "d": 64, "F": 512, "V": 2048}
CONTEXTS = (128, 1024, 4096)
BITS = 4.5


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
    return found


def plan(gpu: Gpu, shape: dict[str, int], contexts: tuple[int, ...]) -> dict[str, Any]:
    """Milliseconds a decode step of the whole model."""
    graph, entries = model(shape)
    decoder = Decoder(gpu, graph, entries, max(contexts))
    print("plan", decoder.dispatches, "dispatches,", decoder.weights / 1e9, "GB", flush=True)
    found: dict[str, Any] = {
        "dispatches": decoder.dispatches, "kernels": decoder.kernels, "bytes": decoder.weights,
    }  # fmt: skip
    for context in contexts:
        decoder.place(context)
        one = {
            "gpu_ms": decoder.gpu_ms(),
            "queued_ms": decoder.queued_ms(),
            "readback_ms": decoder.readback_ms(),
        }
        one["tb_s"] = round(decoder.weights / one["gpu_ms"] / 1e9, 3)
        one["by_kernel_us"] = decoder.profile()
        found[str(context)] = one
        print(context, one, flush=True)
    decoder.free()
    return found


def native(shape: dict[str, int], contexts: tuple[int, ...]) -> dict[str, Any]:
    """Milliseconds a decode step of the torch backend, with CUDA graphs."""
    import torch

    if not torch.cuda.is_available():
        print("native: torch sees no CUDA device", flush=True)
        return {"skipped": "torch sees no CUDA device"}
    from bench_decode_cuda import STEPS, batches_of, queued, waiting
    from bench_torch_cuda import PAGE, copy_bandwidth, greedy
    from plans import BfloatWeights

    from treadle.backends.table import backend
    from treadle.limits import Limits

    graph, _ = model(shape, act="bf16")
    pages = (max(contexts) + STEPS) // PAGE + 2
    begun = time.monotonic()
    exe = backend("torch", device="cuda", dtype="bf16").compile(
        graph, BfloatWeights(graph), Limits(), pages=pages
    )
    print(f"native compiled after {time.monotonic() - begun:.0f} s", flush=True)
    found: dict[str, Any] = {"weights": "bf16", "copy_gb_s": round(copy_bandwidth() / 1e9, 1)}
    for context in contexts:
        steps, params = batches_of(1, context), greedy(1)
        queued(exe, steps[:5], params)
        times = [(queued(exe, steps, params), waiting(exe, steps, params)) for _ in range(5)]
        one = {
            "queued_ms": round(statistics.median(t[0] for t in times), 4),
            "waiting_ms": round(statistics.median(t[1] for t in times), 4),
        }
        found[str(context)] = one
        print("native", context, one, flush=True)
    exe.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default="read,rows,keys,plan,native")
    parser.add_argument("--shapes", default="8b,1b")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("web_share.json"))
    given = parser.parse_args()
    parts = given.parts.split(",")
    names = ["tiny"] if given.tiny else given.shapes.split(",")
    shapes = {"tiny": TINY, **SHAPES}
    contexts = (20, 300) if given.tiny else CONTEXTS
    result: dict[str, Any] = {"contexts": contexts}

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

    if {"read", "rows", "keys", "plan"} & set(parts):
        gpu = Gpu()
        result["adapter"], result["tick_ns"] = gpu.name, gpu.tick
        print(gpu.name, "subgroup", gpu.subgroup, "tick", gpu.tick, flush=True)
        part("read", "read_gb_s", lambda: read_rate(gpu, (1 << 24) if given.tiny else (1 << 30)))
        for name in names:
            shape, budget = shapes[name], (1 << 22) if given.tiny else (3 << 29)
            part("rows", f"rows {name}", lambda s=shape, b=budget: rows(gpu, s, b))
            part("keys", f"keys {name}", lambda s=shape: keys(gpu, s, contexts))
            part("plan", f"plan {name}", lambda s=shape: plan(gpu, s, contexts))
    for name in names:
        part("native", f"native {name}", lambda n=name: native(shapes[n], contexts))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
