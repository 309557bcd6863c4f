"""Schema: what is read is what was written, what is wrong is refused by name, peers load it."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import subprocess
import sys
import types
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import InvalidRequest, LimitExceeded
from treadle.kernels.schema import (
    AxisConst,
    AxisVar,
    Correctness,
    Definition,
    Environment,
    Evaluation,
    Performance,
    RandomInput,
    ScalarInput,
    Solution,
    Source,
    Spec,
    Tensor,
    Trace,
    Workload,
    number,
    read,
    refused_by_v1,
    sig,
    sol_exec,
    solution_id,
    wire_number,
    write,
)
from treadle.kernels.schema.expression import evaluate
from treadle.kernels.schema.fi_trace import read_fi_trace
from treadle.kernels.store import Dataset

DATA = Path(__file__).parent / "data"
SHIPPED = Path(__file__).parents[2] / "kernels"

GEMM = Definition(
    name="g",
    op_type="gemm",
    axes={"M": AxisVar(), "N": AxisConst(value=4)},
    inputs={"A": Tensor(shape=["M", "N"], dtype="float16"), "s": Tensor(shape=None, dtype="int32")},
    outputs={"C": Tensor(shape=["M"], dtype="float32")},
    reference="def run(A, s):\n    return A.sum(-1)\n",
)
SOLUTION = Solution(
    name="s1",
    definition="g",
    author="a",
    spec=Spec(language="python", target_hardware=["cpu"], entry_point="m.py::run"),
    sources=[Source(path="m.py", content="def run(A, s, C):\n    C[:] = A.sum(-1)\n")],
)

words = st.text("abcXYZ_09", min_size=1, max_size=8)
sizes = st.integers(0, 1 << 40)
errors = st.one_of(st.floats(0, 1e9), st.sampled_from([math.nan, math.inf])).map(wire_number)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    inputs = draw(
        st.dictionaries(
            words,
            st.one_of(
                st.builds(RandomInput),
                st.builds(ScalarInput, value=st.one_of(sizes, st.booleans(), st.floats(-9, 9))),
            ),
        )
    )
    workload = Workload(uuid=draw(words), axes=draw(st.dictionaries(words, sizes)), inputs=inputs)
    status = draw(st.sampled_from(["PASSED", "INCORRECT_NUMERICAL", "TIMEOUT", None]))
    if status is None:
        return Trace(definition=draw(words), workload=workload)
    correctness = Correctness(max_relative_error=draw(errors), max_absolute_error=draw(errors))
    times = st.floats(0, 1e6)
    performance = Performance(latency_ms=draw(times), speedup_factor=draw(times))
    evaluation = Evaluation(
        status=status,
        environment=Environment(hardware=draw(words), libs=draw(st.dictionaries(words, words))),
        timestamp="2026-01-01T00:00:00Z",
        log=draw(st.text(max_size=20)),
        correctness=None if status == "TIMEOUT" else correctness,
        performance=performance if status == "PASSED" else None,
    )
    return Trace(
        definition=draw(words), workload=workload, solution=draw(words), evaluation=evaluation
    )


@given(traces(), st.booleans())
def test_a_written_trace_reads_back_equal_and_stays_one_line(trace: Trace, strict: bool) -> None:
    row = write(trace, strict=strict)
    assert read(Trace, row) == trace
    assert b"\n" not in row
    assert {"definition", "workload", "solution", "evaluation"} == set(json.loads(row))


def test_published_files_keep_every_key_and_value() -> None:
    rows = 0
    for path in sorted((DATA / "v1").rglob("*.json*")):
        kind = {"definitions": Definition, "solutions": Solution}.get(
            path.relative_to(DATA / "v1").parts[0], Trace
        )
        texts = path.read_bytes().splitlines() if path.suffix == ".jsonl" else [path.read_bytes()]
        for text in texts:
            rows += 1
            wrote, given_ = json.loads(write(read(kind, text))), json.loads(text)
            if kind is Solution:  # defaults that the file left out are written out
                wrote["spec"] = {k: v for k, v in wrote["spec"].items() if k in given_["spec"]}
            assert wrote == given_, path
    assert rows == 131


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"name": ""}, "name"),
        ({"axes": {"M": {"type": "var"}}}, "inputs.A"),
        ({"axes": {"M": {}, "N": {"type": "const", "value": 4}}}, "type"),
        ({"axes": {"M": {"type": "var"}, "N": {"type": "const", "value": -1}}}, "axes.N"),
        ({"tags": None}, "tags"),
        ({"constraints": ["M >"]}, "constraints"),
        ({"constraints": ["(" * 5000]}, "constraints"),
        ({"flavour": 1}, "flavour"),
        ({"outputs": {"C": {"shape": ["M"], "dtype": "float33"}}}, "outputs.C"),
        ({"outputs": {"C": {"dtype": "float32"}}}, "shape"),
    ],
)
def test_a_bad_definition_is_refused_by_name(change: dict[str, object], where: str) -> None:
    raw = json.loads(write(GEMM)) | change
    with pytest.raises(InvalidRequest, match=where):
        read(Definition, json.dumps(raw))


def prepared(split: dict[str, object]) -> dict[str, object]:
    return {"language": "python", "target_hardware": ["cpu"], "entry_point": "m.py::run",
            "treadle": {"prepare": split}}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"sources": []},
        {"sources": [{"path": "../m.py", "content": "x"}]},
        {"sources": [{"path": "/m.py", "content": "x"}]},
        {"sources": [{"path": "m.py", "content": ""}]},
        {"sources": [{"path": "m.py", "content": "x"}, {"path": "./m.py", "content": "y"}]},
        {"spec": {"language": "cobol", "target_hardware": ["x"], "entry_point": "m.py::run"}},
        {"spec": {"language": "cuda", "target_hardware": [], "entry_point": "m.py::run"}},
        {"spec": {"language": "cuda", "target_hardware": ["x"], "entry_point": "n.py::run"}},
        {"spec": {"language": "cuda", "target_hardware": ["x"], "entry_point": "m.py::a::b"}},
        {"spec": prepared({"entry": "m.py::p"})},
        {"spec": prepared({"entry": "m.py::p", "run": "n.py::r"})},
        {"spec": prepared({"entry": "m.py::p", "run": "m.py::r", "more": 1})},
    ],
)
def test_a_bad_solution_is_refused(change: dict[str, object]) -> None:
    raw = json.loads(write(SOLUTION)) | change
    with pytest.raises(InvalidRequest):
        read(Solution, json.dumps(raw))


def test_unknown_keys_are_kept_when_asked() -> None:
    raw = json.loads(write(GEMM))
    raw["flavour"] = 1
    raw["axes"]["M"]["colour"] = [2]
    raw["inputs"]["A"]["unit"] = "m"
    got = read(Definition, json.dumps(raw), lenient=True)
    assert got.treadle == {"unknown": {"flavour": 1}}
    assert got.axes["M"].treadle == {"unknown": {"colour": [2]}}
    assert json.loads(write(got, strict=True)) == json.loads(write(GEMM, strict=True))


def test_identity_ignores_words_and_sees_everything_else() -> None:
    other = msgspec.structs.replace
    assert sig(other(GEMM, name="h", description="x", tags=["t"])) == sig(GEMM)
    assert sig(other(GEMM, axes={**GEMM.axes, "N": AxisConst(value=5)})) != sig(GEMM)
    assert sig(other(GEMM, inputs=dict(reversed(GEMM.inputs.items())))) != sig(GEMM)
    assert sig(other(GEMM, treadle={"attrs": {"eps": 1e-5}})) != sig(GEMM)
    one = solution_id("s", SOLUTION)
    style = other(SOLUTION, spec=other(SOLUTION.spec, destination_passing_style=False))
    assert solution_id("s", style) != one != solution_id("t", SOLUTION)
    assert solution_id("s", other(SOLUTION, name="s2")) == one


def test_numbers_that_json_lacks() -> None:
    assert [number(wire_number(v)) for v in (1.5, math.inf)] == [1.5, math.inf]
    assert math.isnan(number(wire_number(math.nan)))


def test_fi_trace_dumps_become_definitions() -> None:
    in_place = read_fi_trace((DATA / "fused_add_rmsnorm_h5120.json").read_bytes())
    assert in_place.treadle is not None
    assert in_place.treadle["in_place"] == ["residual"]
    assert in_place.treadle["param"] == {"output": "input", "residual": "residual"}
    assert refused_by_v1(in_place) == ["output residual is an input"]
    assert read(Definition, write(in_place)) == in_place
    raw = json.loads((DATA / "fused_add_rmsnorm_h5120.json").read_bytes())
    raw["axes"]["K"] = {"type": "const"}
    raw["inputs"]["packed"] = {"shape": ["K_div_2", "1"], "dtype": "uint8", "optional": True}
    raw["reference"] = "def a():\n    pass\ndef my_reference(x):\n    return x\n"
    got = read_fi_trace(json.dumps(raw))
    assert got.treadle is not None
    assert got.treadle["unsized"] == ["K"]
    assert got.treadle["reference"] == "my_reference"
    assert "def run(" in got.reference
    raw["inputs"]["packed"]["shape"] = ["Z_div_2"]
    with pytest.raises(InvalidRequest, match="Z_div_2"):
        read_fi_trace(json.dumps(raw))


def test_sol_exec_axes_and_compiler_options() -> None:
    raw = json.loads(write(GEMM))
    raw.pop("op_type")
    raw["axes"]["Q"] = {"type": "expr", "expression": "M * (N + 1) // 2"}
    raw["custom_inputs_entrypoint"] = "make"
    got = sol_exec.read_definition(json.dumps(raw))
    assert got.treadle == {"dialect": "sol_exec", "custom_inputs_entrypoint": "make"}
    assert refused_by_v1(got) == ["axis Q is derived"]
    solution = json.loads(write(SOLUTION))
    solution["spec"]["compile_options"] = {"cuda_cflags": ["-O3", "-arch=sm_90a"]}
    assert sol_exec.read_solution(json.dumps(solution)).spec.compile_options
    for flag in ("-fplugin=/tmp/x.so", "-O3 -o/etc/x", "-I/etc"):
        solution["spec"]["compile_options"] = {"cflags": [flag]}
        with pytest.raises(InvalidRequest, match="not allowed"):
            sol_exec.read_solution(json.dumps(solution))


@pytest.mark.parametrize(
    "text", ["__import__('os')", "a.b", "M if M else N", "[M]", "M / 0", "X", "'a' * 9", "M.real"]
)
def test_expressions_are_arithmetic_only(text: str) -> None:
    with pytest.raises(InvalidRequest):
        evaluate(text, {"M": 3, "N": 4})


def test_expressions_have_values_and_bounds() -> None:
    assert evaluate("M ** 2 // N + -1 == (8 % 5) - 2", {"M": 3, "N": 4}) == 1
    with pytest.raises(LimitExceeded):
        evaluate("9 ** 9 ** 9", {})
    with pytest.raises(LimitExceeded):
        evaluate("1 + " * 500 + "1", {})


def test_the_schema_needs_msgspec_only() -> None:
    code = (
        "import sys, treadle.kernels.schema as s;"
        "heavy = ('numpy', 'torch', 'pydantic', 'safetensors', 'sqlite3');"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _peer() -> types.ModuleType:
    """flashinfer_bench.data alone: the package itself would import a GPU stack."""
    spec = importlib.util.find_spec("flashinfer_bench")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("flashinfer-bench is not installed (pip install --no-deps flashinfer-bench)")
    shell = types.ModuleType("flashinfer_bench")
    shell.__path__ = list(spec.submodule_search_locations)
    sys.modules["flashinfer_bench"] = shell
    return importlib.import_module("flashinfer_bench.data")


def test_the_peer_loads_the_shipped_dataset_and_what_we_write(tmp_path: Path) -> None:
    peer = _peer()
    trace_set = peer.TraceSet.from_path(str(SHIPPED))
    ours = Dataset(SHIPPED, readonly=True)
    plain = {name for name, d in ours.definitions().items() if not refused_by_v1(d)}
    assert set(trace_set.definitions) == plain
    target = Dataset(tmp_path)
    target.add(GEMM)
    target.add(SOLUTION)
    odd = Correctness(
        max_relative_error="NaN", max_absolute_error="Infinity", extra={"treadle": {}}
    )
    evaluation = Evaluation(
        status="INCORRECT_NUMERICAL",
        environment=Environment(hardware="cpu"),
        timestamp="2026-01-01T00:00:00Z",
        correctness=odd,
    )
    inputs = {"A": RandomInput(treadle={"dist": "normal"}), "s": ScalarInput(value=3)}
    workload = Workload(uuid="w", axes={"M": 0}, inputs=inputs)
    target.append(Trace(definition="g", workload=workload))
    target.append(
        Trace(definition="g", workload=workload, solution="s1", evaluation=evaluation), "a"
    )
    loaded = peer.TraceSet.from_path(str(tmp_path))
    assert math.isnan(loaded.traces["g"][0].evaluation.correctness.max_relative_error)
    assert loaded.workloads["g"][0].workload.axes == {"M": 0}
    assert loaded.solutions["g"][0].name == "s1"
