"""The verbs end to end: explain, table, capture."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import planted
import pytest

sys.path.append(str(Path(__file__).parents[1] / "backends"))
import toy

from treadle.errors import InvalidRequest, NotFound
from treadle.graph import dumps
from treadle.kernels import command
from treadle.kernels.definitions.nodes import gemm_view
from treadle.kernels.store import Dataset


@pytest.fixture
def root(tmp_path):
    d = gemm_view(23, 24, "f32")
    one, other = (planted.solution(d, n, "def run(A, B):\n    return A @ B.T\n") for n in "ab")
    rows = [planted.trace(d, "a", {"M": m}) for m in (1, 4)]
    rows += [planted.trace(d, "b", {"M": 64}), planted.trace(d, "b", {"M": 4}, verdict="SAME")]
    planted.dataset(tmp_path / "data", d, one, other, traces=rows)
    return tmp_path / "data"


def test_explain_says_who_and_why(root, tmp_path, capsys):
    assert command.main(["apply", "explain", str(root), "gemm:M=2", "gemm:M=16", "gemm"]) == 0
    said = capsys.readouterr().out
    assert "on cpu:planted" in said
    assert "gemm  M=2\n    a: 1.500 to 1.600 times as fast" in said
    assert "gemm  M=16\n    fallback: 2.0 octaves from the nearest" in said
    assert said.count("gemm  M=64\n    b:") == 1
    graph = tmp_path / "graph.json"
    graph.write_text(dumps(toy.build(toy.Spec())))
    line = ["apply", "explain", str(root), "--graph", str(graph), "--act", "f32", "--json"]
    assert command.main(line) == 0
    decisions = json.loads(capsys.readouterr().out)["decisions"]
    assert len(decisions) == len(toy.build(toy.Spec()).nodes)
    chosen = [row for row in decisions if row["solution"]]
    assert {row["solution"] for row in chosen} == {"a"}
    assert len(chosen) == 2  # the output projection of each layer
    assert all(row["reason"] for row in decisions)


def test_table_shows_every_measurement_and_the_next_one(root, capsys):
    assert command.main(["apply", "table", str(root)]) == 0
    said = capsys.readouterr().out
    assert "gemm by M" in said
    assert "4: a  (a 1.500..1.600; b 1.500..1.600 verdict SAME)" in said
    assert "16: measure here next" in said
    with pytest.raises(NotFound, match="no definition 'nope'"):
        command.main(["apply", "table", str(root), "nope"])
    with pytest.raises(InvalidRequest, match="M=x"):
        command.main(["apply", "explain", str(root), "gemm:M=x"])


def test_capture_runs_a_script(root, tmp_path, capsys):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, torch\nfrom treadle.kernels.apply import apply\n"
        "def plain(a, b):\n    return a @ b.T\n"
        "for m in (3, 3, int(sys.argv[1])):\n"
        "    apply('gemm', torch.randn(m, 24), torch.randn(23, 24), fallback=plain)\n"
        "sys.exit(0)\n"
    )
    line = ["capture", str(root), "--source", "night", "--json", str(script), "9"]
    assert command.main(line) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["definitions"]["gemm"] == {
        "calls": 3, "cells": 2, "samples": 3, "calls_beyond_the_cells": 0,
    }  # fmt: skip
    rows = list(Dataset(root, readonly=True).workloads("gemm"))
    assert sorted(r.workload.axes["M"] for r in rows) == [3, 3, 9]
    with pytest.raises(NotFound, match="no script"):
        command.main(["capture", str(root), str(tmp_path / "gone.py")])
    with pytest.raises(NotFound, match="no_such_module"):
        command.main(["capture", str(root), "--sites", "no_such_module:x", str(script)])
