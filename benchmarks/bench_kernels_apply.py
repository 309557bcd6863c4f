"""What choosing a measured kernel costs a call, next to flashinfer-bench's apply.

    python benchmarks/bench_kernels_apply.py [--rounds 60] [--no-peer]

Writes results/kernels_apply.json. The kernels do nothing, so a call is the choice alone; `bare` is
the same function called directly. Both systems read one dataset with the same winners, in one
process, and their rounds alternate. Times are CPU time of the thread, which another process on the
core does not stretch; the minimum over rounds stands beside the median. The peer takes part if
`flashinfer-bench` is installed; packages that its import asks for and that apply does not use are
stood in for by empty modules, and named in the result.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import machine, versions, write

sys.path.append(str(Path(__file__).parents[1] / "tests" / "kernels"))
import planted

from treadle.kernels import apply as ours
from treadle.kernels.definitions.public import gemm, gqa_decode
from treadle.kernels.store import Dataset

CALLS = 2000
GEMM, DECODE = gemm(4096, 4096), gqa_decode(32, 8, 1)
BATCH, TOKENS = 8, 512


def operands() -> dict[str, list[Any]]:
    """Operands of a call that the datasets know, and of one that they do not."""
    q = torch.zeros(BATCH, 32, 128, dtype=torch.bfloat16)
    cache = torch.zeros(TOKENS + 3, 1, 8, 128, dtype=torch.bfloat16)
    indptr = torch.arange(BATCH + 1, dtype=torch.int32) * (TOKENS // BATCH)
    indices = torch.arange(TOKENS, dtype=torch.int32)
    weight = torch.zeros(4096, 4096, dtype=torch.float16)
    return {
        "gemm": [torch.zeros(BATCH, 4096, dtype=torch.float16), weight],
        "gemm miss": [torch.zeros(100, 4096, dtype=torch.float16), weight],
        "decode": [q, cache, cache, indptr, indices, 0.1],
    }


def dataset(root: Path) -> Dataset:
    """One winner a definition, measured at the calls' sizes."""
    data = Dataset(root)
    for d, text, axes in (
        (GEMM, "def run(A, B):\n    return A\n", {"M": BATCH}),
        (DECODE, "def run(q, k, v, p, i, s):\n    return q, s\n",
         {"batch_size": BATCH, "num_pages": TOKENS + 3, "len_indptr": BATCH + 1,
          "num_kv_indices": TOKENS}),
    ):  # fmt: skip
        data.add(d)
        data.add(planted.solution(d, f"none_{d.op_type}", text))
        data.append(planted.trace(d, f"none_{d.op_type}", axes), "planter", flush=False)
    return data


def ours_cases(data: Dataset) -> dict[str, tuple[Callable[..., Any], list[Any]]]:
    """Name → (callable, operands)."""
    given = operands()
    made: dict[str, tuple[Callable[..., Any], list[Any]]] = {}

    def gemm_fallback(a: Any, b: Any) -> Any:
        return a

    def bound_fallback(a: Any) -> Any:
        return a

    def decode_fallback(q: Any, k: Any, v: Any, p: Any, i: Any, s: Any) -> Any:
        return q, s

    for label, shadow in (("", 0), (", 1 in 1024 checked", 1024)):
        table = ours.Table.from_store(
            data, planted.DEVICE, ours.Policy(shadow=shadow), build=planted.build
        )
        plain = table.resolve(GEMM.name, gemm_fallback)
        bound = table.resolve(
            GEMM.name, bound_fallback, bound={"B": given["gemm"][1]}, trusted=frozenset({"A"})
        )
        decode = table.resolve(DECODE.name, decode_fallback)
        planned = table.resolve(DECODE.name, decode_fallback, host={"num_kv_indices": [TOKENS]})
        _publish(table)
        made[f"hit, 1 variable axis, all guards{label}"] = (plain, given["gemm"])
        made[f"hit, weight bound and rows trusted{label}"] = (bound, given["gemm"][:1])
        made[f"hit, GQA decode, all guards{label}"] = (decode, given["decode"])
        made[f"hit, GQA decode, host plan{label}"] = (planned, given["decode"])
        if not shadow:
            made["miss to fallback"] = (plain, given["gemm miss"])
            stack = table

    def by_name(a: Any, b: Any) -> Any:
        return ours.apply(GEMM.name, a, b, fallback=gemm_fallback)

    made["hit by name, apply()"] = (_Within(stack, by_name), given["gemm"])
    made["disabled, apply()"] = (by_name, given["gemm"])
    made["disabled, a patched site"] = (_restored(stack), given["gemm"])
    made["bare call, 2 operands"] = (gemm_fallback, given["gemm"])
    made["bare call, 6 operands"] = (decode_fallback, given["decode"])
    return made


def _publish(table: ours.Table) -> None:
    """Puts the do-nothing kernels in use. They do not compute what they claim, so the warm-up
    would refuse them; this benchmark times the choice and nothing else."""
    table.wait()
    for name in table.names():
        core = table.core(name)
        assert core is not None
        for entry in core.entries.values():
            entry.call, entry.state = planted.build(entry.solution, core.definition), "ready"
        core.swap()


class _Within:
    """Enters the table around each round, not around each call."""

    def __init__(self, table: ours.Table, call: Callable[..., Any]) -> None:
        self.table, self.call = table, call


def _restored(table: ours.Table) -> Callable[..., Any]:
    """A library function that was patched and restored: it is the library's own again."""
    library = types.SimpleNamespace(matmul=lambda a, b: a)
    site = ours.Site(library, "matmul", lambda original, t: t.resolve(GEMM.name, original))
    before = library.matmul
    with ours.enabled(table, [site]):
        assert library.matmul is not before
    assert library.matmul is before
    return before


def peer_cases(root: Path, cache: Path) -> tuple[dict[str, Any], list[str], Any]:
    """flashinfer-bench's apply over the same dataset, and what had to be stood in for."""
    os.environ["FIB_CACHE_PATH"] = str(cache)
    stubs: list[str] = []
    while True:
        try:
            theirs = importlib.import_module("flashinfer_bench.apply")
            break
        except ModuleNotFoundError as missing:
            if missing.name is None or missing.name.startswith("flashinfer_bench"):
                return {}, stubs, None
            stubs.append(missing.name)
            sys.modules[missing.name] = _stub(missing.name)
            for name in [n for n in sys.modules if n.startswith("flashinfer_bench")]:
                del sys.modules[name]
    given = operands()

    def gemm_fallback(a: Any, b: Any) -> Any:
        return a

    def call(name: str) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            return theirs.apply(name, args=args, fallback=gemm_fallback)

        return run

    cases = {
        "hit, 1 variable axis": (call(GEMM.name), given["gemm"]),
        "hit, GQA decode": (call(DECODE.name), given["decode"]),
        "miss to fallback": (call(GEMM.name), given["gemm miss"]),
    }
    cases["disabled"] = (call(GEMM.name), given["gemm"])
    return cases, stubs, lambda: theirs.enable_apply(str(root))


def _stub(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__getattr__ = lambda word: type(word, (), {})  # type: ignore[method-assign]
    return module


def timed(call: Callable[..., Any], given: list[Any]) -> float:
    """Microseconds of thread CPU time a call."""
    loop = range(CALLS)
    start = time.thread_time_ns()
    for _ in loop:
        call(*given)
    return (time.thread_time_ns() - start) / CALLS / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        root = Path(folder, "data")
        data = dataset(root)
        cases = {("treadle", n): c for n, c in ours_cases(data).items()}
        stubs: list[str] = []
        runtime = enable = None
        if not options.no_peer:
            theirs, stubs, enable = peer_cases(root, Path(folder, "cache"))
            cases |= {("flashinfer-bench", n): c for n, c in theirs.items()}
        times: dict[tuple[str, str], list[float]] = {at: [] for at in cases}
        order = list(cases)
        rng = random.Random(0)
        if enable is not None:
            runtime = enable()
            runtime.stop()
        for _ in range(options.rounds):
            rng.shuffle(order)
            for at in order:
                call, given = cases[at]
                if isinstance(call, _Within):
                    with ours.enabled(call.table):
                        times[at].append(timed(call.call, given))
                elif runtime is not None and at[0] != "treadle" and at[1] != "disabled":
                    runtime.start()
                    times[at].append(timed(call, given))
                    runtime.stop()
                else:
                    times[at].append(timed(call, given))
    results = {
        system: {
            name: {"median_us": round(statistics.median(t), 3), "min_us": round(min(t), 3)}
            for (whose, name), t in times.items()
            if whose == system
        }
        for system in dict.fromkeys(whose for whose, _ in times)
    }
    packages = ("torch", *(() if len(results) < 2 else ("flashinfer-bench",)))
    path = write(
        "kernels_apply",
        {
            "benchmark": "kernels_apply",
            "machine": {**machine(), "load_1min": round(os.getloadavg()[0], 1)},
            "versions": versions(*packages),
            "method": {"calls_a_round": CALLS, "rounds": options.rounds, "clock": "thread CPU",
                       "seed": 0, "stood_in_for": stubs},
            "goals_us": {"hit, 1 variable axis": 0.5, "hit, GQA decode": 1.0, "miss": 0.4,
                         "disabled": 0},
            "results": results,
        },
    )  # fmt: skip
    for system, rows in results.items():
        for name, row in rows.items():
            print(f"{system:17} {name:55} {row['median_us']:8.3f} us  min {row['min_us']:8.3f}")
    print(path)


if __name__ == "__main__":
    main()
