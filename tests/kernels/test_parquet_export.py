"""Parquet: every row comes back, columns have types, row groups are bounded."""

from __future__ import annotations

import json
import math

import planted
import pytest

from treadle.errors import InvalidRequest, NotFound
from treadle.kernels import command
from treadle.kernels.schema import Trace, read
from treadle.kernels.store import lines, parquet
from treadle.kernels.store.transfer import source_lines

arrow = pytest.importorskip("pyarrow", reason="no pyarrow: pip install 'treadle[bench]'")
pq = pytest.importorskip("pyarrow.parquet")

D = planted.gemm()


@pytest.fixture
def data(tmp_path):
    rows = [planted.trace(D, "a", {"M": m}, (1 + m / 100, 2 + m / 100)) for m in range(1, 8)]
    rows += [planted.trace(D, "a", {"M": 9}, None, n="many", timer=7)]  # not what they should be
    rows += [planted.trace(D, "b", {"M": 2**40}, status="TIMEOUT")]
    rows += [planted.trace(D, "b", {"M": 2**63}, status="TIMEOUT")]
    rows += [Trace(definition=D.name, workload=rows[0].workload)]
    made = planted.dataset(
        tmp_path / "data", D, *(planted.solution(D, n, "x") for n in "ab"), traces=rows
    )
    text = next(path for path in source_lines(made.root) if "traces" in path.parts)
    bad = json.loads(next(lines(text)).data)
    bad["evaluation"]["correctness"] |= {"max_relative_error": "NaN", "max_absolute_error": 0.5}
    with text.open("ab") as file:
        file.write(json.dumps(bad).encode() + b"\nno trace\n")
    return made


def test_rows_come_back_as_they_were(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(parquet, "GROUP", 4)
    file = tmp_path / "all.parquet"
    assert command.main(["export", str(data.root), "--parquet", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"lines": 12, "left_out": 1}
    want = []
    for path in source_lines(data.root):
        place = path.relative_to(data.root).as_posix()
        want += [(place, read(Trace, d)) for _, d in lines(path) if d != b"no trace"]
    assert list(parquet.rows(file)) == want
    meta = pq.read_metadata(file)
    groups = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
    assert groups == [4, 4, 4]
    first = file.read_bytes()
    parquet.export(data, file)  # derived: made anew from the lines, the same
    assert file.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["all.parquet"]


def test_columns_have_the_types_that_a_query_needs(data, tmp_path):
    parquet.export(data, tmp_path / "all.parquet")
    table = pq.read_table(tmp_path / "all.parquet")
    rows = table.to_pylist()
    fast = next(r for r in rows if r["workload"] == "M3")
    assert (fast["ci_low"], fast["rounds"], fast["isolation"]) == (1.03, 60, 2)
    assert fast["axes"] == [("M", 3)]
    assert (fast["op_type"], fast["verdict"], fast["status"]) == ("gemm", "FAST", "PASSED")
    assert fast["measured_at"].isoformat() == "2026-01-01T00:00:00+00:00"
    odd = next(r for r in rows if r["workload"] == "M9")
    assert (odd["rounds"], odd["timer"], odd["ci_low"]) == (None, None, None)
    late, beyond = (r for r in rows if r["status"] == "TIMEOUT")
    assert beyond["axes"] is None
    assert (late["axes"], late["latency_ms"]) == ([("M", 2**40)], None)
    assert sum(math.isnan(r["max_relative_error"] or 0.0) for r in rows) == 1
    assert sum(r["solution"] is None for r in rows) == 1


def test_other_files_are_refused(tmp_path, data):
    with pytest.raises(NotFound, match="no file"):
        list(parquet.rows(tmp_path / "none"))
    (tmp_path / "text").write_text("PAR1 but no")
    with pytest.raises(InvalidRequest, match="no Parquet file"):
        list(parquet.rows(tmp_path / "text"))
    pq.write_table(arrow.table({"file": ["a"], "line": ["b"]}), tmp_path / "strange")
    with pytest.raises(InvalidRequest, match="format 'unknown'"):
        list(parquet.rows(tmp_path / "strange"))
    with pytest.raises(InvalidRequest, match="name a folder"):
        command.main(["export", str(data.root)])
