"""Store: no line is lost or doubled, the index follows the files, transfers keep meaning."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import msgspec
import pytest

from treadle.errors import InvalidRequest, NotFound
from treadle.kernels import command
from treadle.kernels.schema import (
    AxisVar,
    Correctness,
    Definition,
    Environment,
    Evaluation,
    Performance,
    RandomInput,
    Solution,
    Source,
    Spec,
    Tensor,
    Trace,
    Workload,
    write,
)
from treadle.kernels.store import Dataset, append, lines
from treadle.kernels.store.transfer import export, merge

DEFINITION = Definition(
    name="twice",
    op_type="toy",
    axes={"n": AxisVar()},
    inputs={"x": Tensor(shape=["n"], dtype="float32")},
    outputs={"y": Tensor(shape=["n"], dtype="float32")},
    reference="def run(x):\n    return 2 * x\n",
)


def solution(name: str, language: str = "python") -> Solution:
    return Solution(
        name=name,
        definition="twice",
        author="me",
        spec=Spec(language=language, target_hardware=["cpu"], entry_point="m.py::run"),
        sources=[Source(path="m.py", content=f"# {name}\n")],
    )


def trace(name: str, uuid: str, latency: float, n: int = 4, status: str = "PASSED") -> Trace:
    passed = status == "PASSED"
    return Trace(
        definition="twice",
        workload=Workload(uuid=uuid, axes={"n": n}, inputs={"x": RandomInput()}),
        solution=name,
        evaluation=Evaluation(
            status=status,
            environment=Environment(hardware="cpu:x"),
            timestamp="2026-01-01T00:00:00Z",
            correctness=Correctness() if passed else None,
            performance=Performance(latency_ms=latency, speedup_factor=1.0) if passed else None,
        ),
    )


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    made = Dataset(tmp_path / "root")
    made.add(DEFINITION)
    made.add(solution("a"))
    made.add(solution("b"))
    return made


def test_best_is_the_fastest_pass_of_that_device_and_shape(data: Dataset) -> None:
    for row in (
        trace("a", "w1", 3.0),
        trace("b", "w1", 2.0),
        trace("b", "w2", 0.5, n=5),
        trace("a", "w1", 0.1, status="TIMEOUT"),
    ):
        data.append(row, "me")
    best = data.best("twice", "cpu:x", {"n": 4})
    assert best is not None
    assert (best.solution, best.latency_ms) == ("b", 2.0)
    assert data.best("twice", "cpu:y", {"n": 4}) is None
    assert data.index.ran("w1", "a", "cpu:x")
    assert not data.index.ran("w2", "a", "cpu:x")
    assert [t.workload.uuid for t in data.traces("twice", "b")] == ["w1", "w2"]


def test_index_survives_reopening_rewriting_and_rubbish(data: Dataset) -> None:
    for i in range(5):
        data.append(trace("a", f"w{i}", float(i)), "me")
    path = data.root / "traces/me/toy/twice.jsonl"
    data.close()
    again = Dataset(data.root)
    assert again.index.refresh() == 0
    assert again.index.counts() == {"twice": {"PASSED": 5}}
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(reversed(rows)) + b"{not json}\n")
    assert again.index.refresh() == 6
    assert [t.workload.uuid for t in again.traces("twice")] == ["w4", "w3", "w2", "w1", "w0"]
    assert [offset for _, offset, _ in again.index.errors()] == [sum(map(len, rows))]
    path.unlink()
    again.index.refresh()
    assert again.index.counts() == {}
    again.close()
    (data.root / ".treadle/index.sqlite").write_bytes(b"no database at all" * 100)
    assert Dataset(data.root).index.counts() == {}


def test_a_torn_last_line_is_cut_and_reported(data: Dataset) -> None:
    data.append(trace("a", "w0", 1.0), "me")
    path = data.root / "traces/me/toy/twice.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert [p.message for p in data.problems()] == ["40 bytes of an unfinished last line"]
    assert len(list(lines(path))) == 1
    data.append(trace("a", "w1", 1.0), "me")
    assert [t.workload.uuid for t in data.traces("twice")] == ["w0", "w1"]
    assert path.read_bytes().startswith(whole)
    assert not list(data.problems())


def _write_rows(path: Path, name: str, count: int) -> None:
    for i in range(count):
        append(path, b'{"by":"%s","i":%d,"pad":"%s"}' % (name.encode(), i, b"x" * 3000))


def test_writers_do_not_mix_their_lines_and_a_kill_loses_no_finished_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write_rows, args=(path, n, 200)) for n in "abc"]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + 60
    while (not path.exists() or path.stat().st_size < 100_000) and time.monotonic() < deadline:
        time.sleep(0.002)
    victim = workers[0].pid
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    for worker in workers:
        worker.join(60)
    append(path, b'{"by":"last"}')
    rows = [json.loads(data) for _, data in lines(path)]
    for name in "bc":
        assert [r["i"] for r in rows if r["by"] == name] == list(range(200))
    killed = [r["i"] for r in rows if r["by"] == "a"]
    assert killed == list(range(len(killed)))
    assert rows[-1] == {"by": "last"}


def test_names_and_rows_that_do_not_fit_are_refused(data: Dataset) -> None:
    with pytest.raises(NotFound, match="other"):
        data.append(
            Trace(definition="other", workload=Workload(uuid="u", axes={}, inputs={})), "me"
        )
    bad = Workload(uuid="u", axes={"m": 1}, inputs={"x": RandomInput()})
    with pytest.raises(InvalidRequest, match="axes"):
        data.append(Trace(definition="twice", workload=bad))
    other = msgspec.structs.replace(solution("a"), sources=[Source(path="m.py", content="other")])
    with pytest.raises(InvalidRequest, match="other content"):
        data.add(other)
    with pytest.raises(InvalidRequest, match="file name"):
        data.add(solution("../../evil"))
    with pytest.raises(InvalidRequest, match="to read"):
        Dataset(data.root, readonly=True).add(DEFINITION)
    with pytest.raises(InvalidRequest):
        append(data.root / "x.jsonl", b"two\nlines")


def test_merge_twice_adds_once_and_export_drops_what_v1_refuses(
    data: Dataset, tmp_path: Path
) -> None:
    data.append(trace("a", "w0", 1.0), "me")
    wgsl = solution("c", "wgsl")
    assert "ext" in data.add(wgsl).relative_to(data.root).parts
    data.append(trace("c", "w0", 1.0), "me")
    target = Dataset(tmp_path / "target")
    assert merge(target, data) == (1, 3, 2, 0)
    assert merge(target, data) == (0, 0, 0, 2)
    assert not list(target.problems())
    moved = export(target, tmp_path / "out")
    assert moved == (1, 2, 1, 2)
    out = Dataset(tmp_path / "out", readonly=True)
    assert [t.solution for t in out.traces("twice")] == ["a"]
    other = Dataset(tmp_path / "other")
    other.add(msgspec.structs.replace(DEFINITION, op_type="else"))
    with pytest.raises(InvalidRequest, match="differs"):
        merge(target, other)


def test_problems_name_their_place(data: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    (data.root / "definitions/toy/bad.json").write_text("{}")
    lost = data.root / "traces/me/toy/twice.jsonl"
    append(lost, write(trace("gone", "w", 1.0)))
    append(lost, b"[]")
    found = {p.at: p.message for p in data.problems()}
    assert set(found) == {
        "definitions/toy/bad.json",
        "traces/me/toy/twice.jsonl byte 0",
        f"traces/me/toy/twice.jsonl byte {len(write(trace('gone', 'w', 1.0))) + 1}",
    }
    assert command.main(["validate", str(data.root)]) == 2
    assert "gone" in capsys.readouterr().out
    (data.root / "definitions/toy/bad.json").unlink()
    lost.unlink()
    assert command.main(["validate", str(data.root), "--json"]) == 0
    assert command.main(["stat", str(data.root)]) == 0
    assert "1 definitions, 2 solutions, 0 rows" in capsys.readouterr().out
