"""Measures the dataset's solutions behind the wall and appends their traces to the dataset.

    python benchmarks/kernel_traces.py --device cuda --group decode [--seconds 2] [--minutes 9]
    python benchmarks/kernel_traces.py --device cpu --group cpu
    python benchmarks/kernel_traces.py --device cuda --missing --unclear   # what has no verdict yet
    python benchmarks/kernel_traces.py --device cuda --table      # only the table of what is there

Baseline is torch's solution of the same definition; workloads are those of 1 and 16 rows. The table
(definition, solution, rows, microseconds, ratio to torch with its interval, share of the roofline)
is made of the newest trace of each; it goes to benchmarks/results/kernel_traces_KIND.json, with a
picture beside it. A run that is out of time ends after the measurement in hand and goes on where it
stopped the next time. `--unclear` measures rows again whose newest verdict on this very device is
UNCLEAR, or which failed (give more --seconds); `--missing` rows without a trace; together both.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import trace_bars
from machine import machine, versions, write

from treadle.errors import TreadleError
from treadle.kernels.build import build
from treadle.kernels.check import sizes
from treadle.kernels.run import coordinator
from treadle.kernels.run.referee import open_device
from treadle.kernels.run.stage import Settings
from treadle.kernels.schema import AxisVar, Definition, Solution, Tensor, Trace
from treadle.kernels.store import Dataset

ROOT = Path(__file__).parents[1] / "kernels"
RESULTS = Path(__file__).parent / "results"
LLAMA = (
    "gemm_n3072_k2048_bf16", "gemm_n2048_k2048_bf16", "gemm_n16384_k2048_bf16",
    "gemm_n2048_k8192_bf16", "gemm_n128256_k2048_bf16", "gate_up_glu_silu_h2048_f8192_bf16",
    "qkv_h2048_q2048_kv512_bf16", "linear_add_k2048_n2048_bf16", "glu_silu_f8192_bf16",
    "rmsnorm_h2048_bf16_eps1e-05", "add_rmsnorm_h2048_bf16_eps1e-05",
    "rmsnorm_linear_h2048_n2048_bf16_eps1e-05", "attention_h32_d64_ps16_kv8_bf16",
    "qk_norm_rope_kv_h32_d64_kv8_r32_ps16_bf16_eps1e-05",
)  # fmt: skip
PUBLIC = (
    "gqa_paged_decode_h32_kv8_d128_ps64", "gqa_paged_decode_h32_kv8_d128_ps1",
    "fused_add_rmsnorm_h4096", "rmsnorm_h4096", "rope_with_cos_sin_cache_neox_style_d128_rd64",
    "gemm_n3072_k2048_bf16_w4g32", "gemm_n16384_k2048_bf16_w4g32", "gemm_n2048_k8192_bf16_w4g32",
    "gemm_n5120_k2048", "gemm_n2048_k4096", "gemm_n256_k7168",
    "top_k_top_p_sampling_from_probs_v128256", "top_p_sampling_from_probs_v128256",
    "top_k_sampling_from_probs_v128256", "gqa_paged_prefill_causal_h32_kv8_d128_ps64",
    "gqa_ragged_prefill_causal_h32_kv8_d128",
)  # fmt: skip
SMOLLM2 = (
    "gemm_n960_k576_f32", "gemm_n576_k576_f32", "gemm_n3072_k576_f32", "gemm_n576_k1536_f32",
    "gemm_n49152_k576_f32", "gate_up_glu_silu_h576_f1536_f32", "qkv_h576_q576_kv192_f32",
    "linear_add_k576_n576_f32", "glu_silu_f1536_f32", "rmsnorm_h576_f32_eps1e-05",
    "add_rmsnorm_h576_f32_eps1e-05", "rmsnorm_linear_h576_n576_f32_eps1e-05",
    "attention_h9_d64_ps16_kv3_f32", "qk_norm_rope_kv_h9_d64_kv3_r32_ps16_f32_eps1e-05",
    "rope_h9_d64_r32_f32", "embed_v49152_h576_f32", "take_norm_linear_h576_v49152_f32_eps1e-05",
)  # fmt: skip
GROUPS = {"llama": LLAMA, "public": PUBLIC, "cpu": SMOLLM2}
ROWS = ("M", "T", "batch_size", "num_tokens", "S")


def rows_of(definition: Definition, trace: Trace) -> int:
    """Rows of a workload: its batch axis, or the queries of a prefill."""
    axes = trace.workload.axes
    named = [n for n in ("total_q", *ROWS) if n in axes]
    return axes[named[0]] if named else max(axes.values())


def chosen(data: Dataset, names: tuple[str, ...], rows: set[int]) -> list[str]:
    """Identities of the workloads of these rows; of definitions without, the two smallest."""
    found: list[str] = []
    for name in names:
        definition = data.definition(name)
        assert any(isinstance(axis, AxisVar) for axis in definition.axes.values())
        all_rows = {t.workload.uuid: rows_of(definition, t) for t in data.workloads(name)}
        wanted = [u for u, n in all_rows.items() if n in rows]
        found += wanted or sorted(all_rows, key=lambda u: all_rows[u])[:2]
    return found


def newest(data: Dataset, name: str, device: str) -> dict[tuple[str, str], Trace]:
    """(solution, workload) → its newest trace on devices whose name begins so."""
    found: dict[tuple[str, str], Trace] = {}
    for trace in data.traces(name):
        run = trace.evaluation
        if run is not None and trace.solution and run.environment.hardware.startswith(device):
            found[trace.solution, trace.workload.uuid] = trace
    return found


def wanted(trace: Trace | None, given: argparse.Namespace) -> bool:
    """Whether a row is one of those that were asked for."""
    if trace is None:
        return given.missing
    run = trace.evaluation
    if not given.unclear or run is None:
        return False
    if run.status != "PASSED" or run.correctness is None:
        return True
    return (run.correctness.extra or {}).get("treadle", {}).get("verdict") == "UNCLEAR"


def table(data: Dataset, kind: str) -> Iterator[dict[str, Any]]:
    """A line for the newest trace of each solution and workload."""
    for name, definition in data.definitions().items():
        found = newest(data, name, kind)
        order = sorted(found.items(), key=lambda one: (one[0][0], rows_of(definition, one[1])))
        for (solution, _), trace in order:
            run = trace.evaluation
            assert run is not None
            extra = (run.correctness.extra or {}).get("treadle", {}) if run.correctness else {}
            line: dict[str, Any] = {
                "definition": name, "solution": solution, "rows": rows_of(definition, trace),
                "device": run.environment.hardware, "status": run.status,
            }  # fmt: skip
            if run.performance is not None:
                us = run.performance.latency_ms * 1e3
                line |= {
                    "us": round(us, 2),
                    "torch_us": round(run.performance.reference_latency_ms * 1e3, 2),
                    "vs_torch": round(run.performance.speedup_factor, 3),
                    "ci": [round(x, 3) for x in extra.get("ci", [])],
                    "verdict": extra.get("verdict"), "isolation": extra.get("isolation"),
                    "marginal_us": round(extra.get("marginal_ms", 0.0) * 1e3, 2),
                    "roofline_us": round(extra.get("roofline_ms", 0.0) * 1e3, 2),
                    "roofline": round(extra.get("roofline_ms", 0.0) * 1e3 / us, 3),
                }  # fmt: skip
            else:
                line["log"] = run.log[-200:]
            yield line


def main() -> None:
    """Measures, then writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--group", choices=sorted(GROUPS), action="append", default=[])
    parser.add_argument("--rows", default="1,16")
    parser.add_argument("--seconds", type=float, default=2.0, help="of rounds, each measurement")
    parser.add_argument("--minutes", type=float, default=60.0, help="no measurement begins later")
    parser.add_argument("--isolation", type=int, default=4)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/treadle/kernels")
    parser.add_argument("--definition", action="append", default=[], help="besides the groups")
    parser.add_argument("--jobs", type=int, default=1, help="builds at once, before measuring")
    parser.add_argument("--missing", action="store_true", help="only rows without a trace")
    parser.add_argument("--unclear", action="store_true", help="only rows UNCLEAR or failed")
    parser.add_argument("--list", action="store_true", help="only say what would be measured")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    data = Dataset(ROOT)
    faults: list[str] = []
    if not given.table:
        names = tuple(n for group in given.group for n in GROUPS[group]) + tuple(given.definition)
        faults = measure(data, names or tuple(n for g in sorted(GROUPS) for n in GROUPS[g]), given)
    if given.list:
        return
    kind = given.device.partition(":")[0]
    lines = list(table(data, kind))
    figures = {"what": "traces of the dataset on one device", "traces": lines, "faults": faults}
    name = f"kernel_traces_{kind}"
    before = RESULTS / f"{name}.json"
    if given.table and before.exists():  # of the machine that measured, not of this one
        kept = json.loads(before.read_text())
        figures |= {key: kept[key] for key in ("machine", "versions")}
    else:
        installed = (name for name in ("torch", "triton", "numpy") if find_spec(name))
        figures |= {"machine": machine(), "versions": versions(*installed)}
    for fault in faults:
        print(fault, file=sys.stderr)
    devices = ", ".join(sorted({line["device"] for line in lines}))
    trace_bars.write(RESULTS / f"{name}.svg", f"Solutions of the dataset on {devices}", lines)
    print(write(name, figures), len(lines), "traces")


def measure(data: Dataset, names: tuple[str, ...], given: argparse.Namespace) -> list[str]:
    """Builds, then measures what time allows; what went wrong."""
    stop = time.monotonic() + 60 * given.minutes
    uuids = chosen(data, names, {int(text) for text in given.rows.split(",")})
    tasks = coordinator.plan(
        data, names, baseline="treadle_torch_{definition}", workloads=uuids, device=given.device
    )
    here = open_device(given.device).name
    todo, _ = coordinator.begun(tasks, here, data)
    if given.missing or given.unclear:
        done = {(s, u): t for name in names for (s, u), t in newest(data, name, here).items()}
        todo = [t for t in tasks if wanted(done.get((t.candidate.name, t.workload.uuid)), given)]
    todo.sort(key=dear)  # one that takes all the time there is comes last
    if given.list:
        for task in todo:
            print(task.candidate.name, dict(task.workload.axes))
        return []
    built_ahead(todo, given)
    begun = time.monotonic()

    def seen(trace: Trace) -> None:
        run = trace.evaluation
        assert run is not None
        ours = (run.correctness.extra or {}).get("treadle", {}) if run.correctness else {}
        ratio = run.performance.speedup_factor if run.performance else 0.0
        refused = run.environment.libs.get("treadle.refused", "")
        print(f"{time.monotonic() - begun:.1f} s {trace.solution} {trace.workload.axes} "
              f"{run.status} {refused} {ratio:.3f} n={ours.get('n')} x{ours.get('calls')} "
              f"{1e3 * ours.get('e2e_ms', 0):.2f} / {1e3 * ours.get('marginal_ms', 0):.2f} us, "
              f"limit {1e3 * ours.get('roofline_ms', 0):.2f} {ours.get('spent')} "
              f"{run.log[-300:]}", flush=True)  # fmt: skip

    # Behind a GPU's queue a batch must be long for what reveals it to be short.
    calls = 128 if given.device.startswith("cuda") else 64
    settings = Settings(seconds=given.seconds, level=given.isolation, calls=calls)
    report = coordinator.bench(
        todo, given.device, settings, data=data,
        cache=given.cache, seen=seen, until=stop, again=given.missing or given.unclear,
    )  # fmt: skip
    left = [f"out of time: {report.unbegun} of {len(todo)} left"] if report.unbegun else []
    return report.faults + left


def dear(task: coordinator.Task) -> int:
    """What a measurement has to fill and to judge: each element of an output is compared."""
    known = sizes.all_axes(task.definition, task.workload.axes)

    def count(group: dict[str, Tensor]) -> int:
        return sum(sizes.elements(t, known) for t in group.values() if t.shape is not None)

    return count(task.definition.inputs) + 16 * count(task.definition.outputs)


def built_ahead(tasks: list[coordinator.Task], given: argparse.Namespace) -> None:
    """Fills the cache of artefacts, several compilers at a time."""
    begun = time.monotonic()
    device = open_device(given.device).name

    def one(pair: tuple[Solution, Definition]) -> None:
        with contextlib.suppress(TreadleError):  # said again where it is measured
            build(*pair, device=device, cache=given.cache)

    pairs = {(t.definition.name, s.name): (s, t.definition)
             for t in tasks for s in (t.baseline, t.candidate)}  # fmt: skip
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(one, pairs.values()))
    print(f"{len(pairs)} built after {time.monotonic() - begun:.1f} s", flush=True)


if __name__ == "__main__":
    main()
