"""Checks the solutions of a dataset against their references on a GPU, and times what is right.

Every torch, Triton and CUDA solution runs at two sizes beside the definition's reference in
float64, within the tolerance of `kernel_operands.excess`. A time is taken by CUDA events around one
call, after the L2 was overwritten and while the device still sleeps, so that launches are hidden
unless a solution waits for the device itself; solutions of a definition alternate in rounds, and a
figure is the median over rounds. Beside it stand its ratio to the torch solution's time and the
share of the roofline: bytes that must move at 4.5 TB/s. Needs torch, Triton and nvcc; not the
treadle package. Checks run side by side, which also compiles what Triton needs;
times are taken by one process alone. A worker that dies or hangs costs its definition only.

    python benchmarks/bench_kernels_solutions.py [ROOT] [--out FILE] [--only REGEX] [--seconds 330]
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib
import json
import os
import queue
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
ROUNDS = 30
AT_ONCE = 8
CHECKED, TIMED, LONGEST = (3, 33), 16, 1024
KITS = ("torch", "triton", "cuda")
QUIET = 120.0  # seconds without a word after which a worker is given up
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


def check(d: dict[str, Any], solutions: list[dict[str, Any]], folder: Path) -> list[Any]:
    """A row a solution: compared at every size of CHECKED, and called once at the timed size."""
    import kernel_operands as cases
    import torch

    rows: list[dict[str, Any]] = []
    for s in solutions:
        row: dict[str, Any] = {"definition": d["name"], "solution": s["name"], "status": "PASSED"}
        rows.append(row)
        try:
            run = load(s, folder)
            for seed, count in enumerate(CHECKED):
                given = cases.operands(d, count, longest=300, device="cuda", seed=seed)
                found = bound(s, d, run, given)()
                torch.cuda.synchronize()
                share = cases.excess(d, given, found)
                row["excess"] = round(max(row.get("excess", 0.0), share), 3)
                if not share <= 1:
                    row |= {"status": "INCORRECT_NUMERICAL", "at": count}
            bound(s, d, run, cases.operands(d, TIMED, longest=LONGEST, device="cuda", seed=7))()
            torch.cuda.synchronize()
        except Exception as problem:
            text = f"{type(problem).__name__}: {problem}"[-600:]
            row |= {"status": "RUNTIME_ERROR", "log": text}
            if "CUDA error" in text or "illegal memory" in text:
                raise  # nothing on this context can be trusted any more
    return rows


def measure(d: dict[str, Any], solutions: list[dict[str, Any]], folder: Path) -> list[Any]:
    """A row a solution with its time; they take turns on the same operands."""
    import kernel_operands as cases

    given = cases.operands(d, TIMED, longest=LONGEST, device="cuda", seed=7)
    calls = {s["name"]: bound(s, d, load(s, folder), given) for s in solutions}
    for call in calls.values():
        for _ in range(3):
            call()
    size = cases.moved(d, given)
    times = timed(calls)
    base = times.get(f"treadle_torch_{d['name']}")
    rows: list[dict[str, Any]] = []
    for name, values in times.items():
        median = statistics.median(values)
        row = {
            "solution": name,
            "rows": TIMED,
            "bytes": size,
            "us": round(median, 2),
            "us_quartiles": [round(q, 2) for q in statistics.quantiles(values, n=4)[::2]],
            "roofline": round(size / BYTES_PER_SECOND * 1e6 / median, 3),
        }
        if base:
            row["vs_torch"] = round(statistics.median(base) / median, 3)
        rows.append(row)
    return rows


def work(root: Path, folder: Path) -> None:
    """A worker: lines `check|measure [definition, solutions...]` → a line of JSON for each."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    sys.path.insert(0, str(folder))
    definitions, solutions = dataset(root)
    for line in sys.stdin:
        verb, _, words = line.partition(" ")
        name, *wanted = json.loads(words)
        mine = [s for s in solutions[name] if s["name"] in wanted]
        function = check if verb == "check" else measure
        print(json.dumps(function(definitions[name], mine, folder)), flush=True)
        torch.cuda.empty_cache()


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


class Workers:
    """Children that work on definitions, one a thread; one that dies or hangs is replaced."""

    def __init__(self, root: Path, folder: Path, count: int) -> None:
        self._words = [sys.executable, __file__, str(root), "--worker", str(folder)]
        self._idle: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(self._start())

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, verb: str, name: str, solutions: list[str]) -> list[Any] | None:
        """The rows of a definition, or None if its worker died or hung."""
        process = self._idle.get()
        assert process.stdin is not None
        assert process.stdout is not None
        line = ""
        try:
            process.stdin.write(f"{verb} {json.dumps([name, *solutions])}\n")
            process.stdin.flush()
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                line = process.stdout.readline() if selector.select(QUIET) else ""
        except BrokenPipeError:
            pass
        if not line.endswith("\n"):
            process.kill()
            process.wait()
            process = self._start()
        self._idle.put(process)
        return json.loads(line) if line.endswith("\n") else None

    def close(self) -> None:
        while not self._idle.empty():
            process = self._idle.get()
            process.kill()
            process.wait()


def prepare(solutions: dict[str, list[Any]], names: list[str], folder: Path) -> dict[str, str]:
    """Builds what is distinct in parallel; what does not build, with its log."""
    mine = [s for name in names for s in solutions[name]]
    unique = {place(s, folder): s for s in mine}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        logs = dict(zip(unique, pool.map(lambda s: build(s, folder), unique.values()), strict=True))
    return {s["name"]: logs[place(s, folder)] for s in mine if logs[place(s, folder)]}


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
    results: dict[str, dict[str, Any]] = {}
    left: list[str] = []

    def passed() -> float:
        return time.monotonic() - begun

    def checked(name: str) -> None:
        """Every row of a definition that builds; the device is shared by several checks."""
        given = [s["name"] for s in solutions[name] if s["name"] not in results]
        if passed() > 0.6 * args.seconds:
            left.append(name)
            return
        rows = workers.ask("check", name, given)
        lost = {"definition": name, "status": "RUNTIME_ERROR", "log": "the worker died or hung"}
        for row in rows if rows is not None else [{**lost, "solution": s} for s in given]:
            results[row["solution"]] = row

    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for name, log in prepare(solutions, names, folder).items():
            results[name] = {"solution": name, "status": "COMPILE_ERROR", "log": log}
        print(f"built in {passed():.0f} s, {len(results)} failed", flush=True)
        workers = Workers(args.root, folder, AT_ONCE)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(checked, names))
        workers.close()
        print(f"checked after {passed():.0f} s", flush=True)
        workers = Workers(args.root, folder, 1)
        for name in names:
            mine = [s["name"] for s in solutions[name]]
            right = [s for s in mine if results.get(s, {}).get("status") == "PASSED"]
            if passed() > args.seconds:
                left.append(name)
                continue
            for row in workers.ask("measure", name, right) or [] if right else []:
                results[row["solution"]] |= row
        workers.close()
    import torch

    figures = {
        "machine": machine.machine(),
        "device": torch.cuda.get_device_name(),
        "versions": {**machine.versions("torch", "triton"), "cuda": torch.version.cuda},
        "method": {"rounds": ROUNDS, "checked_rows": CHECKED, "timed_rows": TIMED,
                   "longest": LONGEST, "bytes_per_second": BYTES_PER_SECOND},
        "seconds": round(time.monotonic() - begun, 1),
        "left_out": sorted(set(left)),
        "results": list(results.values()),
    }  # fmt: skip
    args.out.write_text(json.dumps(figures, indent=1) + "\n")
    summary(list(results.values()))
    print(f"{figures['seconds']} s, {len(set(left))} definitions left out; {args.out}")


if __name__ == "__main__":
    main()
