"""Checks the solutions of a dataset against their references on a GPU, and times what is right.

Every torch, Triton and CUDA solution runs at two sizes beside the definition's reference in
float64, within the tolerance of `kernel_operands.excess`. A time is taken by CUDA events around one
call, after the L2 was overwritten and while the device still sleeps, so that launches are hidden
unless a solution waits for the device itself; solutions of a definition alternate in rounds, and a
figure is the median over rounds. Beside it stand its ratio to the torch solution's time and the
share of the roofline: bytes that must move at 4.5 TB/s. Needs torch, Triton and nvcc; not the
treadle package. A worker that dies or hangs costs its definition only.

    python benchmarks/bench_kernels_solutions.py [ROOT] [--out FILE] [--only REGEX] [--seconds 330]
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib
import json
import os
import random
import re
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import machine

BYTES_PER_SECOND = 4.5e12
ROUNDS = 20
CHECKED, TIMED, LONGEST = (3, 33), 16, 1024
KITS = ("torch", "triton", "cuda")
QUIET = 75.0  # seconds without a word after which a worker is given up
FIRST = ("model:llama-3.2-1b", "model:smollm2-135m")


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


def descriptor(t: Any) -> DLTensor:
    shape = (ctypes.c_int64 * t.ndim)(*t.shape)
    strides = (ctypes.c_int64 * t.ndim)(*t.stride())
    code = 4 if str(t.dtype) == "torch.bfloat16" else 2 if t.is_floating_point() else 0
    return DLTensor(
        t.data_ptr(), 2, t.device.index or 0, t.ndim, code, 8 * t.element_size(), 1, shape, strides
    )


def kit(solution: dict[str, Any]) -> str:
    return solution["name"].split("_")[1]


def place(solution: dict[str, Any], folder: Path) -> Path:
    """Where a solution's sources lie; equal sources share a folder."""
    words = json.dumps([solution["sources"], solution["spec"]], sort_keys=True)
    return folder / f"s{hashlib.sha256(words.encode()).hexdigest()[:24]}"


def build(solution: dict[str, Any], folder: Path) -> str:
    """Writes the sources and compiles CUDA; returns what the compiler complained of."""
    home = place(solution, folder)
    home.mkdir(exist_ok=True)
    for source in solution["sources"]:
        (home / source["path"]).write_text(source["content"])
    if kit(solution) != "cuda":
        return ""
    entry = solution["spec"]["entry_point"].split("::")[0]
    flags = solution["spec"]["compile_options"]["cuda_cflags"]
    words = ["nvcc", "-shared", "-Xcompiler", "-fPIC", *flags, "-o", str(home / "run.so")]
    done = subprocess.run([*words, str(home / entry)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr or "nvcc failed")[-1500:]


def load(solution: dict[str, Any], folder: Path) -> Any:
    """The entry as a function of inputs and, where they are passed, outputs."""
    import torch

    home = place(solution, folder)
    file, symbol = solution["spec"]["entry_point"].split("::")
    if kit(solution) != "cuda":
        return getattr(importlib.import_module(f"{home.name}.{Path(file).stem}"), symbol)
    function = getattr(ctypes.CDLL(str(home / "run.so")), symbol)

    def prepared(*operands: Any) -> Any:
        """Descriptors are made once, as an engine would; the call is what is timed."""
        kept = [o if isinstance(o, float) else descriptor(o) for o in operands]
        words = [ctypes.c_double(k) if isinstance(k, float) else ctypes.byref(k) for k in kept]
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)

        def call() -> None:
            status = function(*words, stream)
            if status:
                raise RuntimeError(f"status {status}")

        return call

    return prepared


def bound(solution: dict[str, Any], d: dict[str, Any], run: Any, given: dict[str, Any]) -> Any:
    """A function without arguments that returns the outputs."""
    import kernel_operands as cases

    values = list(given.values())
    if kit(solution) == "cuda":
        found = tuple(cases.outputs(d, given).values())
        call = run(*values, *found)

        def filled() -> Any:
            call()
            return found

        return filled

    def returned() -> Any:
        found = run(*values)
        return found if isinstance(found, tuple) else (found,)

    return returned


def timed(calls: dict[str, Any]) -> dict[str, list[float]]:
    """Microseconds of every call by solution, in rounds of random order."""
    import torch

    flush = torch.empty(256 << 20, dtype=torch.int8, device="cuda")
    found: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for _ in range(ROUNDS):
        random.shuffle(order)
        for name in order:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            flush.zero_()
            torch.cuda._sleep(600_000)  # about 0.3 ms, in which the host gets ahead
            begin.record()
            calls[name]()
            end.record()
            end.synchronize()
            found[name].append(begin.elapsed_time(end) * 1e3)
    return found


def measure(d: dict[str, Any], solutions: list[dict[str, Any]], folder: Path) -> list[Any]:
    """Rows of one definition: each solution checked, the right ones timed together."""
    import kernel_operands as cases
    import torch

    rows: dict[str, dict[str, Any]] = {}
    runs: dict[str, Any] = {}
    for s in solutions:
        rows[s["name"]] = {"definition": d["name"], "solution": s["name"], "status": "PASSED"}
        try:
            runs[s["name"]] = load(s, folder)
            for seed, count in enumerate(CHECKED):
                given = cases.operands(d, count, longest=300, device="cuda", seed=seed)
                found = bound(s, d, runs[s["name"]], given)()
                torch.cuda.synchronize()
                share = cases.excess(d, given, found)
                worst = max(rows[s["name"]].get("excess", 0.0), share)
                rows[s["name"]]["excess"] = round(worst, 3)
                if not share <= 1:
                    rows[s["name"]] |= {"status": "INCORRECT_NUMERICAL", "at": count}
        except Exception as problem:
            text = f"{type(problem).__name__}: {problem}"[-600:]
            rows[s["name"]] |= {"status": "RUNTIME_ERROR", "log": text}
            if "CUDA error" in text or "illegal memory" in text:
                raise
    right = [s for s in solutions if rows[s["name"]]["status"] == "PASSED"]
    given = cases.operands(d, TIMED, longest=LONGEST, device="cuda", seed=7)
    calls = {s["name"]: bound(s, d, runs[s["name"]], given) for s in right}
    for call in calls.values():
        for _ in range(3):
            call()
    size = cases.moved(d, given)
    times = timed(calls)
    base = times.get(f"treadle_torch_{d['name']}")
    for name, values in times.items():
        median = statistics.median(values)
        rows[name] |= {
            "rows": TIMED,
            "bytes": size,
            "us": round(median, 2),
            "us_quartiles": [round(q, 2) for q in statistics.quantiles(values, n=4)[::2]],
            "roofline": round(size / BYTES_PER_SECOND * 1e6 / median, 3),
        }
        if base:
            rows[name]["vs_torch"] = round(statistics.median(base) / median, 3)
    return list(rows.values())


def work(root: Path, folder: Path) -> None:
    """A worker: names of definitions on stdin, a line of JSON for each on stdout."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    sys.path.insert(0, str(folder))
    definitions, solutions = dataset(root)
    for line in sys.stdin:
        name = line.strip()
        given = [s for s in solutions[name] if s["name"] not in _broken(folder)]
        print(json.dumps(measure(definitions[name], given, folder)), flush=True)
        torch.cuda.empty_cache()


def _broken(folder: Path) -> dict[str, str]:
    return json.loads((folder / "broken.json").read_text())


def dataset(root: Path) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Definitions by name, our solutions by definition."""
    files = sorted((root / "definitions").rglob("*.json"))
    definitions = {d["name"]: d for d in map(json.loads, (p.read_text() for p in files))}
    solutions: dict[str, list[Any]] = {name: [] for name in definitions}
    for base in (root, root / "ext"):
        for path in sorted((base / "solutions" / "treadle").rglob("*.json")):
            one = json.loads(path.read_text())
            if kit(one) in KITS:
                solutions[one["definition"]].append(one)
    return definitions, solutions


class Worker:
    """A child that measures; `ask` returns rows, or None if it died or hung."""

    def __init__(self, root: Path, folder: Path) -> None:
        words = [sys.executable, __file__, str(root), "--worker", str(folder)]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, name: str) -> list[Any] | None:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(name + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            line = process.stdout.readline() if selector.select(QUIET) else ""
        return json.loads(line) if line.endswith("\n") else None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def prepare(solutions: dict[str, list[Any]], names: list[str], folder: Path) -> dict[str, str]:
    """Builds what is distinct in parallel; what does not build, with its log."""
    mine = [s for name in names for s in solutions[name]]
    unique = {place(s, folder): s for s in mine}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        logs = dict(zip(unique, pool.map(lambda s: build(s, folder), unique.values()), strict=True))
    broken = {s["name"]: logs[place(s, folder)] for s in mine if logs[place(s, folder)]}
    (folder / "broken.json").write_text(json.dumps(broken))
    return broken


def summary(results: list[Any]) -> None:
    """Counts and geometric means on the terminal."""
    for name in KITS:
        mine = [r for r in results if r["solution"].split("_")[1] == name]
        wrong = [r for r in mine if r["status"] != "PASSED"]
        ratios = [r["vs_torch"] for r in mine if "vs_torch" in r]
        shares = [r["roofline"] for r in mine if "roofline" in r]
        mean = round(statistics.geometric_mean(ratios), 2) if ratios else None
        half = round(statistics.median(shares), 2) if shares else None
        print(f"{name}: {len(mine)} solutions, {len(wrong)} wrong; {mean} x torch; roofline {half}")
        for r in wrong:
            print("  ", r["status"], r["solution"], r.get("excess", ""), r.get("log", "")[-300:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, nargs="?", default=Path("kernels"))
    parser.add_argument("--out", type=Path, default=machine.RESULTS / "kernels_solutions.json")
    parser.add_argument("--only", default="")
    parser.add_argument("--seconds", type=float, default=330)
    parser.add_argument("--worker", type=Path)
    args = parser.parse_args()
    if args.worker:
        work(args.root, args.worker)
        return
    begun = time.monotonic()
    definitions, solutions = dataset(args.root)
    names = [n for n in definitions if re.search(args.only, n)]
    names.sort(key=lambda n: not set(FIRST) & set(definitions[n].get("tags", [])))
    results: list[Any] = []
    left: list[str] = []
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        broken = prepare(solutions, names, folder)
        for name, log in broken.items():
            results.append({"solution": name, "status": "COMPILE_ERROR", "log": log})
        print(f"built in {time.monotonic() - begun:.0f} s, {len(broken)} failed", flush=True)
        worker = Worker(args.root, folder)
        for name in names:
            if time.monotonic() - begun > args.seconds:
                left.append(name)
                continue
            rows = worker.ask(name)
            if rows is None:
                worker.close()
                worker = Worker(args.root, folder)
                gone = "the worker died or hung"
                rows = [{"solution": s["name"], "status": "RUNTIME_ERROR", "log": gone}
                        for s in solutions[name]]  # fmt: skip
            results += rows
        worker.close()
    import torch

    figures = {
        "machine": machine.machine(),
        "device": torch.cuda.get_device_name(),
        "versions": {**machine.versions("torch", "triton"), "cuda": torch.version.cuda},
        "method": {"rounds": ROUNDS, "checked_rows": CHECKED, "timed_rows": TIMED,
                   "longest": LONGEST, "bytes_per_second": BYTES_PER_SECOND},
        "seconds": round(time.monotonic() - begun, 1),
        "left_out": left,
        "results": results,
    }  # fmt: skip
    args.out.write_text(json.dumps(figures, indent=1) + "\n")
    summary(results)
    print(f"{figures['seconds']} s, {len(left)} definitions left out; {args.out}")


if __name__ == "__main__":
    main()
