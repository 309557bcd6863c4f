"""Builds the CUDA solutions of a dataset as they are packed, and checks each on a Hopper GPU.

Each is called through its `dlpack` binding at several sizes and compared with the definition's own
reference on float64 inputs. Samplers are checked for drawing what the filters leave. Needs torch
and nvcc; not the treadle package.

    python benchmarks/bench_kernels_packed.py ROOT [--out FILE]
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import math
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "int32": torch.int32,
    "int64": torch.int64,
}
CODES = {
    torch.float16: (2, 16),
    torch.bfloat16: (4, 16),
    torch.float32: (2, 32),
    torch.int8: (0, 8),
    torch.int32: (0, 32),
    torch.int64: (0, 64),
}
TOLERANCE = 8e-3
ROWS = (1, 5, 16, 33)


class DLTensor(ctypes.Structure):
    """The descriptor of DLPack, flattened."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def descriptor(t: torch.Tensor) -> DLTensor:
    shape = (ctypes.c_int64 * t.ndim)(*t.shape)
    strides = (ctypes.c_int64 * t.ndim)(*t.stride())
    code, bits = CODES[t.dtype]
    return DLTensor(t.data_ptr(), 2, 0, t.ndim, code, bits, 1, shape, strides, 0)


def key(solution: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps([solution["sources"], solution["spec"]]).encode()).hexdigest()


def build(solution: dict[str, Any], folder: Path) -> Path:
    """The compiled library; the same sources are built once."""
    home = folder / key(solution)
    home.mkdir()
    for source in solution["sources"]:
        (home / source["path"]).write_text(source["content"])
    out = home / "run.so"
    flags = solution["spec"]["compile_options"]["cuda_cflags"]
    entry = home / solution["spec"]["entry_point"].split("::")[0]
    command = ["nvcc", "-shared", "-Xcompiler", "-fPIC", *flags, "-o", str(out), str(entry)]
    subprocess.run(command, check=True)
    return out


def make_inputs(d: dict[str, Any], rows: int) -> dict[str, Any]:
    """Valid random inputs with `rows` rows, sequences or tokens."""
    sizes = {n: a.get("value", rows) for n, a in d["axes"].items()}
    page = sizes.get("page_size", 1)
    made: dict[str, Any] = {}
    if "kv_indptr" in d["inputs"]:
        lens = torch.randint(1, 700, (rows,))
        counts = (lens + page - 1) // page
        total = int(counts.sum())
        sizes |= {"num_pages": total + 3, "len_indptr": rows + 1, "num_kv_indices": total}
        made["kv_indptr"] = torch.cat((torch.zeros(1), counts.cumsum(0))).int()
        made["kv_indices"] = torch.randperm(total + 3)[:total].int()
        made["kv_last_page_len"] = (lens - (counts - 1) * page).int()
    sizes["max_seq_len"] = 2048
    for name, t in d["inputs"].items():
        if t["shape"] is None:
            made[name] = 128**-0.5
            continue
        if name in made:
            made[name] = made[name].cuda()
            continue
        shape = [sizes[a] for a in t["shape"]]
        if name == "positions":
            made[name] = torch.randint(0, 2048, shape, device="cuda")
        elif name == "top_k":
            made[name] = torch.full(shape, 20, dtype=torch.int32, device="cuda")
        elif name == "top_p":
            made[name] = torch.full(shape, 0.8, device="cuda")
        elif t["dtype"] == "int8":  # w4g32: any code, small positive scales
            raw = torch.randint(0, 256, shape, device="cuda", dtype=torch.uint8)
            count = shape[1] // 18  # K / 32
            scales = (torch.rand(shape[0], count, device="cuda") + 0.5) * 0.01
            raw[:, -2 * count :] = scales.half().view(torch.uint8)
            made[name] = raw.view(torch.int8)
        elif name == "probs":
            made[name] = torch.softmax(torch.randn(shape, device="cuda") * 3, -1)
        else:
            scale = shape[-1] ** -0.5 if name == "B" else 1.0
            made[name] = (torch.randn(shape, device="cuda") * scale).to(DTYPES[t["dtype"]])
    found = {name: made[name] for name in d["inputs"]}
    found["__sizes__"] = sizes
    return found


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    found = found.double().reshape(-1, found.shape[-1])
    wanted = wanted.double().reshape(-1, wanted.shape[-1])
    if not bool(torch.isfinite(found).all()):
        return math.inf
    return float(((found - wanted).norm(dim=-1) / wanted.norm(dim=-1).clamp(min=1e-30)).max())


def sampled(d: dict[str, Any], inputs: dict[str, Any], samples: torch.Tensor) -> float:
    """Share of draws outside what the filters leave."""
    wrong = 0
    for b, token in enumerate(samples.tolist()):
        row = inputs["probs"][b].double()
        if not 0 <= token < len(row):
            wrong += 1
            continue
        p = row[token]
        if "top_k" in inputs:
            kept = row.topk(int(inputs["top_k"][b])).values
            wrong += bool(p < kept[-1])
            row = torch.where(row >= kept[-1], row, 0.0)
            row, p = row / row.sum(), p / row.sum()
        if "top_p" in inputs:
            wrong += bool(row[row > p].sum() > float(inputs["top_p"][b]) + 1e-4)
    return wrong / len(samples)


def check(d: dict[str, Any], run: Any, rows: int) -> float:
    """The largest error over the outputs, or the share of wrong draws."""
    inputs = make_inputs(d, rows)
    sizes = inputs.pop("__sizes__")
    outputs = {
        n: torch.full([sizes[a] for a in t["shape"]], -7, dtype=DTYPES[t["dtype"]], device="cuda")
        for n, t in d["outputs"].items()
    }
    kept: list[Any] = []
    args: list[Any] = []
    for value in (*inputs.values(), *outputs.values()):
        if isinstance(value, float):
            args.append(ctypes.c_double(value))
        else:
            kept.append(descriptor(value))
            args.append(ctypes.byref(kept[-1]))
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    status = run(*args, stream)
    torch.cuda.synchronize()
    if status:
        raise RuntimeError(f"{d['name']}: status {status}")
    if d["op_type"] == "sampling":
        return sampled(d, inputs, outputs["samples"])
    space: dict[str, Any] = {}
    exec(compile(d["reference"], d["name"], "exec"), space)  # noqa: S102 - our own text
    wide = [
        v.double() if isinstance(v, torch.Tensor) and v.is_floating_point() else v
        for v in inputs.values()
    ]
    wanted = space["run"](*wide)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    return max(error(o, w) for o, w in zip(outputs.values(), wanted, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.manual_seed(1)
    files = sorted((args.root / "definitions").rglob("*.json"))
    definitions = {d["name"]: d for d in map(json.loads, (p.read_text() for p in files))}
    files = sorted((args.root / "ext/solutions/treadle").rglob("*.json"))
    solutions = [json.loads(p.read_text()) for p in files]
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        unique = {key(s): s for s in solutions}
        with ThreadPoolExecutor(16) as pool:
            paths = pool.map(lambda s: build(s, Path(folder)), unique.values())
            built = dict(zip(unique, paths, strict=True))
        print(f"built {len(built)} libraries for {len(solutions)} solutions")
        for s in solutions:
            run = ctypes.CDLL(str(built[key(s)])).run
            d = definitions[s["definition"]]
            for rows in ROWS:
                try:
                    worst = check(d, run, rows)
                except Exception as problem:
                    worst = math.inf
                    print(problem)
                limit = 0.0 if d["op_type"] == "sampling" else TOLERANCE
                results.append(
                    {"solution": s["name"], "rows": rows, "error": worst, "ok": worst <= limit}
                )
                if worst > limit:
                    print("WRONG", results[-1])
    print(f"checked {len(results)}, wrong {sum(not r['ok'] for r in results)}")
    if args.out:
        args.out.write_text(json.dumps(results, indent=0) + "\n")


if __name__ == "__main__":
    main()
