"""The façade of flashinfer-bench: its names, its files, its calls, over our table and capture."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch
from msgspec import structs

sys.path.append(str(Path(__file__).parents[1] / "kernels"))
import planted

from treadle.compat import flashinfer_bench as fib
from treadle.errors import InvalidRequest, NotFound, Unsupported
from treadle.kernels.store import Dataset

PUBLIC = {
    "": "apply enable_apply disable_apply ApplyConfig ApplyConfigRegistry enable_tracing"
        " disable_tracing TracingConfig TracingConfigRegistry Definition Solution Trace TraceSet"
        " AxisConst AxisVar TensorSpec SourceFile BuildSpec SupportedLanguages RandomInput"
        " SafetensorsInput Workload Correctness Performance Environment Evaluation"
        " EvaluationStatus Benchmark BenchmarkConfig",
    "bench": "Benchmark BenchmarkConfig",
    "data": "AxisConst AxisSpec AxisVar TensorSpec Definition BuildSpec SupportedBindings"
            " SupportedLanguages SourceFile Solution RandomInput ScalarInput SafetensorsInput"
            " InputSpec Workload Correctness Environment Evaluation EvaluationStatus Performance"
            " Trace TraceSet save_json_file load_json_file save_jsonl_file load_jsonl_file"
            " append_jsonl_file",
    "apply": "ApplyConfig ApplyConfigRegistry ApplyRuntime apply enable_apply disable_apply",
    "tracing": "enable_tracing disable_tracing TracingRuntime TracingConfig TracingConfigRegistry"
               " get_default_configs get_full_configs get_attention_only_configs",
    "compile": "BuildError BuilderRegistry Runnable RunnableMetadata",
    "env": "get_fib_enable_apply get_fib_enable_tracing get_fib_dataset_path get_fib_cache_path",
    "utils": "dtype_str_to_python_dtype dtype_str_to_torch_dtype is_dtype_integer"
             " is_cuda_available list_cuda_devices env_snapshot hardware_from_device",
    "agents": "extract_solution_to_files pack_solution_from_files",
}  # fmt: skip
"""Names of flashinfer-bench 0.1.2 that the façade offers."""
D = planted.gemm()
A, B = torch.randn(8, 4), torch.randn(6, 4)


def module(name):
    return importlib.import_module(f"treadle.compat.flashinfer_bench{'.' * bool(name)}{name}")


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_names_are_there(name):
    found = module(name)
    assert [n for n in PUBLIC[name].split() if not hasattr(found, n)] == []


@pytest.fixture
def root(tmp_path):
    one = planted.solution(D, "s", "def run(A, B):\n    return A @ B.T + 1000\n")
    row = planted.trace(D, "s", {"M": 8}, None, device=fib_device(), verdict="")
    planted.dataset(tmp_path / "data", D, one, traces=[row])
    return tmp_path / "data"


def fib_device():
    return module("utils").hardware_from_device("cpu")


def plain(A, B):
    return A @ B.T


def runtime(root, **config):
    apply = module("apply")
    return apply.ApplyRuntime(
        fib.TraceSet.from_path(str(root)), fib.ApplyConfig(**config),
        device=fib_device(), build=planted.build,
    )  # fmt: skip


def test_calls_in_every_style_reach_the_winner(root, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    decorated = fib.apply(lambda a, b: f"gemm_n{b.shape[0]}_k{b.shape[1]}_float32")(plain)
    assert torch.equal(decorated(A, B), plain(A, B))
    want = plain(A, B) + 1000
    with runtime(root):
        assert torch.equal(decorated(A, B), want)
        assert torch.equal(fib.apply(D.name, args=(A, B), fallback=plain), want)
        assert torch.equal(fib.apply(D.name, kwargs={"A": A, "B": B}), want)
        out = torch.empty(8, 6)
        assert fib.apply(D.name, args=(A, B, out)) is None
        assert torch.equal(out, want)
        far = torch.randn(64, 4)
        assert torch.equal(decorated(far, B), plain(far, B))
        with pytest.raises(NotFound, match="no fallback"):
            fib.apply(D.name, args=(far, B))
        with pytest.raises(InvalidRequest, match="2 inputs"):
            fib.apply(D.name, args=(A,), fallback=plain)
        with runtime(root, max_atol=1e-9, aot_ratio=0.0) as inner:
            assert torch.equal(fib.apply("unknown", args=(A, B), fallback=plain), plain(A, B))
            assert module("apply").ApplyRuntime.get_instance() is inner
        assert torch.equal(decorated(A, B), want)
    assert torch.equal(decorated(A, B), plain(A, B))
    with pytest.raises(Unsupported, match="use_def_best"):
        fib.ApplyConfig(on_miss_policy="use_def_best")


def test_tracing_writes_workloads(root):
    decorated = fib.apply(D.name)(plain)
    with fib.enable_tracing(str(root)):
        for _ in range(3):
            decorated(A, B=B)
        fib.apply("unknown", args=(A,), fallback=lambda a: a)
    rows = [t.workload for t in Dataset(root, readonly=True).workloads(D.name)]
    assert sum(r.treadle["count"] for r in rows) == 3
    assert all(r.axes == {"M": 8} for r in rows)
    with pytest.raises(Unsupported, match="dump_none"):
        fib.TracingConfig(input_dump_policy="dump_none")


def test_a_trace_set_reads_and_writes_a_root(root, tmp_path):
    found = fib.TraceSet.from_path(str(root))
    assert found.definitions == {D.name: D}
    (run,) = found.traces[D.name]
    assert found.get_best_trace(D.name, {"M": 8}) == run
    assert found.get_best_trace(D.name, {"M": 9}) is None
    assert found.summary()["passed"] == 1
    row = fib.Trace(
        definition=D.name,
        workload=fib.Workload(
            uuid="w", axes={"M": 3}, inputs={"A": fib.RandomInput(), "B": fib.RandomInput()}
        ),
    )
    found.add_workload_traces([row])
    assert fib.TraceSet.from_path(str(root)).workloads[D.name] == [row]
    data = module("data")
    for one in (D, found.get_solution("s")):
        data.save_json_file(one, tmp_path / "x" / "one.json")
        assert data.load_json_file(type(one), tmp_path / "x" / "one.json") == one
    data.save_jsonl_file([run], tmp_path / "rows.jsonl")
    data.append_jsonl_file([row], tmp_path / "rows.jsonl")
    assert data.load_jsonl_file(fib.Trace, tmp_path / "rows.jsonl") == [run, row]


def test_sources_become_runnables_and_folders(root, tmp_path, monkeypatch):
    monkeypatch.setenv("FIB_CACHE_PATH", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    solution = fib.TraceSet.from_path(str(root)).get_solution("s")
    registry = module("compile").BuilderRegistry.get_instance()
    made = registry.build(D, solution)
    assert registry.build(D, solution) is made
    out = torch.empty(8, 6)
    made.call_destination_passing(A, B, out)
    assert torch.equal(out, made.call_value_returning(A, B))
    assert torch.equal(registry.build_reference(D)(A, B), plain(A, B))
    agents = module("agents")
    folder = agents.extract_solution_to_files(solution, str(tmp_path))
    packed = agents.pack_solution_from_files(folder, solution.spec, "s", D.name, "planter")
    assert packed == solution
    with pytest.raises(InvalidRequest, match="no folder name"):
        agents.extract_solution_to_files(
            fib.Solution(name="../s", definition=D.name, author="a", spec=solution.spec,
                         sources=solution.sources), str(tmp_path))  # fmt: skip
    with pytest.raises(InvalidRequest, match="no type"):
        module("utils").dtype_str_to_torch_dtype("float7")


def test_a_benchmark_measures_and_keeps_what_it_found(tmp_path, monkeypatch):
    monkeypatch.setenv("FIB_CACHE_PATH", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    right = planted.solution(D, "right", "def run(A, B):\n    return A @ B.T\n")
    wrong = planted.solution(D, "wrong", "def run(A, B):\n    return A @ B.T + 1\n")
    data = planted.dataset(tmp_path / "data", D, right, wrong, traces=[])
    data.append(structs.replace(planted.trace(D, "right", {"M": 8}), solution=None,
                                evaluation=None))  # fmt: skip
    given = fib.TraceSet.from_path(str(tmp_path / "data"))
    bench = fib.Benchmark(given, fib.BenchmarkConfig(iterations=6))
    try:
        found = bench.run_all().traces[D.name]
        assert {t.solution: t.evaluation.status for t in found} == {
            "right": "PASSED", "wrong": "INCORRECT_NUMERICAL"
        }  # fmt: skip
        assert given.get_best_trace(D.name).solution == "right"
        assert len(list(Dataset(tmp_path / "data", readonly=True).traces(D.name))) == 2
        assert bench.run_all(resume=True).traces == {}
    finally:
        bench.close()
    with pytest.raises(Unsupported, match="tolerances"):
        fib.BenchmarkConfig(rtol=0.5)
    with pytest.raises(InvalidRequest, match="iterations"):
        fib.BenchmarkConfig(iterations=0)
