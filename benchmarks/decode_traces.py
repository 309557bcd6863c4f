"""Measures our GPU solutions against the torch backend's own kernels and makes a table of them.

The traces are those of this process and this device: each ratio is paired, in alternating rounds of
captured graphs whose operands together exceed the L2. A product follows a norm there, as it does in
a step: what it gains or loses where it meets a small kernel is part of its time, and the norm's own
time is in both sides. Isolation is 0 (our own sources, run here),
and the trace says so. The interval is that of the median ratio, from order statistics.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from treadle.backends.torch import decode_triton
from treadle.backends.torch.kernels import matrix_product, product_add
from treadle.kernels.apply import Policy, Table
from treadle.kernels.apply.calling import torch_dtype, value_returning
from treadle.kernels.apply.prepared import Prepared
from treadle.kernels.enable import builder
from treadle.kernels.schema import (
    AxisConst,
    Correctness,
    Definition,
    Environment,
    Evaluation,
    Performance,
    RandomInput,
    Solution,
    Trace,
    Workload,
    preparation,
)
from treadle.kernels.store import Dataset

ROOT = Path(__file__).parents[1] / "kernels"
KITS = ("triton", "cuda", "cuda_stream")
ROUNDS = 21
CALLS = 16  # in a graph, at least
COLD = 200e6  # bytes of operands that a graph goes through
NAMES = (
    "gemm_n3072_k2048_bf16",
    "gemm_n2048_k2048_bf16",
    "gemm_n16384_k2048_bf16",
    "gemm_n2048_k8192_bf16",
    "gemm_n128256_k2048_bf16",
    "gate_up_glu_silu_h2048_f8192_bf16",
    "linear_add_k2048_n2048_bf16",
    "linear_add_k8192_n2048_bf16",
    "add_rmsnorm_h2048_bf16_eps1e-05",
    "rmsnorm_h2048_bf16_eps1e-05",
)


def own(d: Definition) -> Callable[..., Any]:
    """What the torch backend runs where nothing is substituted."""
    if d.op_type == "gemm":
        products: dict[int, Any] = {}

        def multiplied(x: Any, w: Any) -> Any:
            if w.data_ptr() not in products:
                products[w.data_ptr()] = matrix_product(w)
            return products[w.data_ptr()](x)

        return multiplied
    if d.op_type == "linear_add":
        sums: dict[int, Any] = {}

        def added(x: Any, w: Any, y: Any) -> Any:
            if w.data_ptr() not in sums:
                sums[w.data_ptr()] = product_add(w)
            return sums[w.data_ptr()](x, y)

        return added
    if d.name.startswith("gate_up_glu"):
        act = decode_triton.gate("silu")
        kept: dict[int, Any] = {}

        def gated(x: Any, g: Any, u: Any) -> Any:
            both = kept.setdefault(g.data_ptr(), None)
            if both is None:  # joined when the weights are loaded, not when it is called
                both = kept[g.data_ptr()] = torch.cat((g, u))
            if x.shape[0] == 1:
                return decode_triton.row_gate(x, both, "silu")
            return act(functional.linear(x, both))

        return gated
    kind = decode_triton.add_rmsnorm if d.name.startswith("add") else decode_triton.rmsnorm
    made: dict[int, Any] = {}

    def norm(*given: Any) -> Any:
        w = given[-1]
        if w.data_ptr() not in made:
            made[w.data_ptr()] = kind(w, 1e-5)
        return made[w.data_ptr()](*given[:-1])

    return norm


def operands(d: Definition, rows: int) -> list[Any]:
    """Normal values of the declared types."""
    sizes = {n: a.value if isinstance(a, AxisConst) else rows for n, a in d.axes.items()}
    found: list[Any] = []
    for tensor in d.inputs.values():
        assert tensor.shape is not None
        shape = [sizes[axis] for axis in tensor.shape]
        found.append(torch.randn(shape, device="cuda").to(torch_dtype(tensor.dtype)))
    return found


def captured(call: Callable[..., Any], sets: list[list[Any]]) -> tuple[Any, int]:
    """A graph of calls over the sets, each after a norm if weights are matrices; so many that where
    a graph begins and ends hardly counts. The graph, and how many calls it holds."""
    small = torch.ones((sets[0][0].shape[0], 2048), dtype=torch.bfloat16, device="cuda")
    norm = decode_triton.rmsnorm(torch.ones(2048, device="cuda"), 1e-5)
    product = any(t.dim() == 2 and t.numel() > 1 << 20 for t in sets[0])
    turns = -(-CALLS // len(sets))

    def every() -> None:
        for given in sets * turns:
            if product:
                norm(small)
            call(*given)

    every()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        every()
    return graph, turns * len(sets)


def once(graph: Any) -> float:
    """Milliseconds of a replay."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    graph.replay()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def build(
    folder: Path, device: str, cache: Path
) -> Callable[[Solution, Definition], Callable[..., Any]]:
    """Imports a Triton solution's sources as a package of their own; builds the others."""
    sys.path.append(str(folder))
    compiled = builder(device, cache)

    def make(one: Solution, d: Definition) -> Callable[..., Any]:
        if one.spec.language == "cuda":
            return compiled(one, d)
        home = folder / f"s_{one.name.replace('-', '_').replace('.', '_')}"
        home.mkdir(exist_ok=True)
        for source in one.sources:
            (home / source.path).write_text(source.content)
        importlib.invalidate_caches()
        file, _, symbol = one.spec.entry_point.partition("::")
        return getattr(importlib.import_module(f"{home.name}.{Path(file).stem}"), symbol)

    return make


def error(got: Any, want: Any) -> float:
    """Largest relative L2 error of the outputs."""
    pairs = zip(*((a if isinstance(a, tuple) else (a,)) for a in (got, want)), strict=True)
    return max(float((a.float() - b.float()).norm() / b.float().norm()) for a, b in pairs)


def measured(
    d: Definition, one: Solution, call: Callable[..., Any], rows: int, device: str
) -> tuple[Trace, dict[str, Any]]:
    """One trace, and the line for the result."""
    first = operands(d, rows)
    size = sum(t.nbytes for t in first)
    sets = [first, *(operands(d, rows) for _ in range(min(23, int(COLD // size))))]
    ours = own(d)
    if isinstance(call, Prepared):
        for given in sets:
            call.add_of(given)
    off = error(call(*first), ours(*first))
    graphs = [captured(f, sets) for f in (ours, call)]
    times: list[list[float]] = [[], []]
    for graph, _ in graphs:
        once(graph)
    for _ in range(ROUNDS):
        for kept, (graph, calls) in zip(times, graphs, strict=True):
            kept.append(once(graph) / calls)
    ratios = sorted(a / b for a, b in zip(*times, strict=True))
    low, high = ratios[5], ratios[15]  # 95 % of the median of 21
    base, mine = (sorted(t)[ROUNDS // 2] for t in times)
    passed = off < 2e-2
    line = {
        "definition": d.name, "solution": one.name, "rows": rows, "own_us": round(base * 1e3, 2),
        "us": round(mine * 1e3, 2), "ci": [round(low, 4), round(high, 4)],
        "difference": round(off, 5),
    }  # fmt: skip
    extra = {"n": ROUNDS, "verdict": "FAST" if low > 1.02 else "EQUAL", "timer": "graph",
             "isolation": 0, "baseline": "treadle torch backend", "ci": [low, high]}  # fmt: skip
    axes = {n: rows for n, a in d.axes.items() if not isinstance(a, AxisConst)}
    run = Evaluation(
        status="PASSED" if passed else "INCORRECT_NUMERICAL",
        environment=Environment(hardware=device, libs={"torch": str(torch.__version__)}),
        timestamp=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        correctness=Correctness(max_relative_error=off, extra={"treadle": extra}),
        performance=Performance(
            latency_ms=mine, reference_latency_ms=base, speedup_factor=ratios[ROUNDS // 2]
        ),
    )
    inputs = {n: RandomInput() for n in d.inputs}
    work = Workload(uuid=f"{d.name}-{rows}", axes=axes, inputs=inputs)
    return Trace(definition=d.name, workload=work, solution=one.name, evaluation=run), line


def table(folder: Path, batches: list[int], cache: Path) -> tuple[Table, list[dict[str, Any]]]:
    """Measures every such solution at every batch, and reads the traces as an engine would.
    cache: where compiled solutions are kept."""
    for name in NAMES:
        wanted = [("definitions", f"{name}.json")]
        wanted += [("solutions", f"treadle_{one}_{name}.json") for one in KITS]
        for kind, file in wanted:
            for path in (p for part in (ROOT, ROOT / "ext") for p in (part / kind).rglob(file)):
                to = folder / path.relative_to(ROOT)
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_text(path.read_text())
    data = Dataset(folder)
    device = f"cuda:{torch.cuda.get_device_name()}"
    sources = folder / "built"
    sources.mkdir()
    make = build(sources, device, cache)
    lines: list[dict[str, Any]] = []
    known = data.definitions()
    solutions = list(data.solutions())

    def loaded(one: Solution) -> Any:
        try:
            return make(one, known[one.definition])
        except Exception as problem:
            return problem

    with ThreadPoolExecutor() as pool:  # compilers work side by side
        built = list(pool.map(loaded, solutions))
    for one, raw in zip(solutions, built, strict=True):
        d = known[one.definition]
        try:
            if isinstance(raw, Exception):
                raise raw
            passing = one.spec.destination_passing_style
            split = preparation(one) is not None
            call = Prepared(raw, d, passing) if split else value_returning(raw, d, passing)
            for rows in batches:
                trace, line = measured(d, one, call, rows, device)
                data.append(trace, "bench_decode_cuda")
                lines.append(line)
                print(json.dumps(line), flush=True)
        except Exception as problem:
            lines.append({"definition": d.name, "solution": one.name, "error": repr(problem)[:300]})
            print(lines[-1], flush=True)
        torch.cuda.empty_cache()
    policy = Policy(isolation=0, shadow=0)
    return Table.from_store(data, device, policy, build=make), lines
