"""The benchmark end to end: traces on disk, resumed after a kill, one lease, verdicts as JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from treadle.errors import Timeout
from treadle.kernels import command
from treadle.kernels.run import layout, traces
from treadle.kernels.run.lease import lease
from treadle.kernels.schema import (
    AxisConst,
    AxisVar,
    Definition,
    RandomInput,
    Solution,
    Source,
    Spec,
    Tensor,
    Trace,
    Workload,
    write,
)
from treadle.kernels.store import Dataset, lines

pytestmark = pytest.mark.alone

ADD = Definition(
    name="add_h48",
    op_type="add",
    axes={"T": AxisVar(), "D": AxisConst(value=48)},
    inputs={n: Tensor(shape=["T", "D"], dtype="float32") for n in "xy"},
    outputs={"z": Tensor(shape=["T", "D"], dtype="float32")},
    reference="def run(x, y):\n    return x + y\n",
    treadle={"op": "add", "attrs": {}},
)
BODIES = {
    "base": "    np.add(x, y, out=z)\n",
    "same": "    np.add(y, x, out=z)\n",
    "slow": "    for _ in range(300):\n        np.add(x, y, out=z)\n",
    "wrong": "    np.subtract(x, y, out=z)\n",
    "broken": "    this is no python\n",
}


def solution(name: str) -> Solution:
    return Solution(
        name=name,
        definition=ADD.name,
        author="tests",
        spec=Spec(language="python", target_hardware=["cpu"], entry_point="main.py::run",
                  treadle={"array": "numpy"}),
        sources=[
            Source(path="main.py", content=f"import numpy as np\ndef run(x, y, z):\n{BODIES[name]}")
        ],
    )  # fmt: skip


def dataset(root: Path, *names: str, sizes: tuple[int, ...] = (16,)) -> Dataset:
    data = Dataset(root)
    data.add(ADD)
    for name in names:
        data.add(solution(name))
    for size in sizes:
        row = Workload(uuid=f"w{size}", axes={"T": size}, inputs=dict.fromkeys("xy", RandomInput()))
        data.append(Trace(definition=ADD.name, workload=row))
    return data


def options(root: Path) -> list[str]:
    short = ["--baseline", "base", "--rounds", "8", "--seconds", "1", "--share", "--wait", "300"]
    return [str(root), *short, "--cache", str(root / "cache"), "--quiet", "--json"]


def told(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> dict[str, object]:
    assert command.main(list(words)) == code
    return json.loads(capsys.readouterr().out)


def test_bench_writes_traces_that_say_how_they_were_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = dataset(tmp_path, *BODIES)
    out = told(capsys, 2, "bench", *options(tmp_path))
    rows = {row["solution"]: row for row in out["results"]}
    assert {n: r["status"] for n, r in rows.items()} == {
        "same": "PASSED", "slow": "PASSED", "wrong": "INCORRECT_NUMERICAL",
        "broken": "COMPILE_ERROR",
    }  # fmt: skip
    assert 0 < rows["slow"]["ci"][0] <= rows["slow"]["speedup"] <= rows["slow"]["ci"][1]
    for one in data.traces(ADD.name):
        run = one.evaluation
        assert run is not None
        assert run.environment.libs["treadle.harness"] == traces.HARNESS
        write(one, strict=True)  # a v1 reader takes it
        if run.status == "PASSED":
            ours = run.correctness.extra["treadle"]
            assert {
                "n",
                "ci",
                "verdict",
                "timer",
                "isolation",
                "noise",
                "noise_floor",
                "key",
            } <= set(ours)
        if run.status == "INCORRECT_NUMERICAL":
            assert run.correctness.extra["treadle"]["phase"] == "trial"
    assert not list(Dataset(tmp_path, readonly=True).problems())
    again = told(capsys, 0, "resume", str(tmp_path), *options(tmp_path)[3:])
    assert (again["results"], again["left_out"]) == ([], 4)


def test_a_killed_bench_goes_on_without_doubles(tmp_path: Path) -> None:
    data = dataset(tmp_path, "base", "same", "slow", sizes=(4, 8, 12))
    words = [sys.executable, "-m", "treadle.kernels.command", "bench", *options(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env={**os.environ})
    place = tmp_path / "traces" / "tests" / "add" / f"{ADD.name}.jsonl"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not (place.exists() and len(list(lines(place))) >= 2):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = len(list(lines(place)))
    assert 2 <= before < 6
    assert command.main(["resume", str(tmp_path), *options(tmp_path)[3:]]) == 0
    data = Dataset(tmp_path, readonly=True)
    keys = [traces.resume_key(t) for t in data.traces(ADD.name)]
    assert len(keys) == len(set(keys)) == 6


def test_compare_gives_a_paired_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset(tmp_path, "base", "slow")
    words = [w for w in options(tmp_path)[1:] if w not in ("--baseline", "base")]
    out = told(capsys, 0, "compare", str(tmp_path), "slow", "base", *words)
    assert out["results"][0]["status"] == "PASSED"
    assert out["results"][0]["solution"] == "base"
    assert out["results"][0]["n"] >= 5


def test_a_device_has_one_holder(tmp_path: Path) -> None:
    with lease("cpu:test", folder=tmp_path):
        with pytest.raises(Timeout, match=str(os.getpid())), lease("cpu:test", folder=tmp_path):
            pytest.fail("held twice")
        with lease("cpu:other", folder=tmp_path):
            pass
    with lease("cpu:test", folder=tmp_path):
        pass


def test_doctor_says_what_the_machine_can_do(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, 0, "doctor", "--json")
    assert found["isolation"] >= 0
    assert 0 < found["clock_step_ns"] < 100_000


def test_a_batch_on_the_page_reads_back() -> None:
    page = memoryview(bytearray(layout.CONTROL))
    calls = [
        [(0, 256, (3, 4)), (3, layout.real_bits(-0.5), ()), (2, -7, ()), (1, 512, (0,))],
        [(0, 0, ()), (3, layout.real_bits(1e300), ()), (2, 1 << 62, ()), (1, 0, (1, 2, 3, 4, 5))],
    ]
    layout.write_batch(page, calls)
    assert layout.read_batch(page) == (layout.What.RUN, calls)
    assert layout.real(layout.real_bits(-0.5)) == -0.5
    layout.write_batch(page, [], layout.What.END)
    assert layout.read_batch(page) == (layout.What.END, [])
    layout.write_text(page, "é" * 5000)
    assert layout.read_text(page).startswith("éé")


def test_selfcheck_refuses_its_tricks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--rounds", "8", "--seconds", "1", "--share", "--cache", str(tmp_path), "--json"]
    command.main(["selfcheck", *words])  # whether it is quiet enough here is no matter of a test
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)["checks"]}
    assert found["honest"]["found"].split()[0] in ("SAME", "UNCLEAR", "FAST", "SLOW")
    assert all(row["ok"] for name, row in found.items() if name not in ("honest", "slower"))
    assert len(found) == 7
