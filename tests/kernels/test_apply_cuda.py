"""Substitution on a GPU: frozen choices in a captured graph, and what may not be captured."""

from __future__ import annotations

import planted
import pytest
import torch

from treadle.kernels.apply import Policy, Table, freeze

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
DEVICE = "cuda:planted"
MARKED = "def run(A, B):\n    return A @ B.T + 1000\n"
WAITING = "import torch\ndef run(A, B):\n    torch.cuda.synchronize()\n    return A @ B.T + 1000\n"


def plain(a, b):
    return a @ b.T


def table_of(tmp_path, body):
    d = planted.gemm()
    one, other = planted.solution(d, "s", body), planted.solution(d, "t", MARKED)
    row = planted.trace(d, "s", {"M": 8}, device=DEVICE)
    data = planted.dataset(tmp_path, d, one, other, traces=[row])
    table = Table.from_store(data, DEVICE, Policy(shadow=1), build=planted.build)
    table.resolve(d.name, plain)
    assert table.wait()
    return table, data, d


def test_a_graph_replays_the_frozen_choice_until_it_is_stale(tmp_path):
    table, data, d = table_of(tmp_path, MARKED)
    a, b = torch.randn(8, 4, device="cuda"), torch.randn(6, 4, device="cuda")
    frozen = freeze(table, d.name, {"M": 8}, plain)
    frozen.call(a, b)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = frozen.call(a, b)
    for _ in range(2):
        a.normal_()
        graph.replay()
        torch.testing.assert_close(out, plain(a, b) + 1000)
    assert not frozen.stale
    data.append(planted.trace(d, "t", {"M": 8}, (3.0, 3.1), device=DEVICE), "planter")
    table.refresh(data)
    assert table.wait()
    assert frozen.stale
    graph.replay()
    torch.testing.assert_close(out, plain(a, b) + 1000)


def test_what_cannot_be_captured_is_used_in_eager_calls_only(tmp_path):
    table, _, d = table_of(tmp_path, WAITING)
    (entry,) = table.counters()[d.name]["entries"].values()
    assert entry["state"] == "ready"
    assert "not captured" in entry["note"]
    assert freeze(table, d.name, {"M": 8}, plain).call is plain


def test_a_checked_call_and_operands_elsewhere(tmp_path):
    table, _, d = table_of(tmp_path, "def run(A, B):\n    return A @ B.T + 0.5\n")
    handle = table.resolve(d.name, plain)
    a, b = torch.randn(8, 4, device="cuda"), torch.randn(6, 4, device="cuda")
    torch.testing.assert_close(handle(a, b), plain(a, b))
    (entry,) = table.counters()[d.name]["entries"].values()
    assert entry["state"] == "open"
    torch.testing.assert_close(handle(a.cpu(), b.cpu()), plain(a.cpu(), b.cpu()))
    assert table.counters()[d.name]["miss"]["A: on cpu"] == 1
