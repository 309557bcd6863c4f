"""Capture: counts add up, structure survives, secrets stay, and the watched program is unharmed."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter

import planted
import pytest
import torch
from safetensors.torch import load_file

from treadle.errors import InvalidRequest
from treadle.kernels.apply import Site, apply, enabled
from treadle.kernels.capture import Limits, Recorder
from treadle.kernels.capture.cells import Sketch, cell
from treadle.kernels.schema import (
    AxisConst,
    AxisVar,
    BlobInput,
    Definition,
    RandomInput,
    ScalarInput,
    Tensor,
)
from treadle.kernels.store import Dataset

EMBED = Definition(
    name="embed_toy", op_type="embed",
    axes={"V": AxisConst(value=50), "D": AxisConst(value=4), "T": AxisVar()},
    inputs={"table": Tensor(shape=["V", "D"], dtype="float32"),
            "ids": Tensor(shape=["T"], dtype="int64")},
    outputs={"x": Tensor(shape=["T", "D"], dtype="float32")},
    reference="def run(table, ids):\n    return table[ids]\n",
)  # fmt: skip


def attention(q, *rest):
    return q, q[..., 0]


def calls(handle, tokens, batch=2, cache=None):
    q = torch.randn(batch, 4, 8)
    cache = torch.zeros(20, 1, 2, 8) if cache is None else cache
    indptr = torch.arange(batch + 1, dtype=torch.int32) * tokens
    indices = torch.randperm(batch * tokens).to(torch.int32)
    handle(q, cache, cache, indptr, indices, 0.5)
    return indptr, indices


def rows(data, name):
    data.index.refresh()
    return [trace.workload for trace in data.workloads(name)]


def test_integer_structure_is_kept_and_floats_become_distributions(tmp_path):
    d = planted.decode()
    data = planted.dataset(tmp_path, d, traces=[])
    recorder = Recorder(data, "run1")
    handle = recorder.resolve(d.name, attention)
    cache = torch.randn(20, 1, 2, 8)
    cache[..., 3] *= 50
    indptr, indices = calls(handle, 7, cache=cache)
    manifest = json.loads(recorder.close().read_text())
    (row,) = rows(data, d.name)
    assert row.axes == {"batch_size": 2, "num_pages": 20, "len_indptr": 3, "num_kv_indices": 14}
    assert row.treadle == {"count": 1, "source": "run1"}
    assert row.inputs["sm_scale"] == ScalarInput(value=0.5)
    for name, value in (("kv_indptr", indptr), ("kv_indices", indices)):
        given = row.inputs[name]
        assert isinstance(given, BlobInput)
        assert torch.equal(load_file(tmp_path / given.path)[given.tensor_key], value)
    given = row.inputs["k_cache"]
    assert isinstance(given, RandomInput)
    assert given.treadle is not None
    dist = given.treadle["dist"]
    assert dist["std"] == pytest.approx(float(cache.std()), rel=0.01)
    assert list(dist["outliers"]) == ["3"]
    assert manifest["definitions"][d.name] == {
        "calls": 1, "cells": 1, "samples": 1, "calls_beyond_the_cells": 0,
    }  # fmt: skip
    assert "token ids" in manifest["leaves_out"]
    assert not list(Dataset(tmp_path, readonly=True).problems())


def test_counts_add_up_and_a_cell_keeps_few(tmp_path):
    d = planted.decode()
    data = planted.dataset(tmp_path, d, traces=[])
    recorder = Recorder(data, "run", limits=Limits(keep=4))
    handle = recorder.resolve(d.name, attention)
    lengths = [5] * 30 + [40] * 3 + [300] * 11
    random.Random(1).shuffle(lengths)
    for tokens in lengths:
        calls(handle, tokens)
    recorder.close()
    found = rows(data, d.name)
    total = Counter()
    for row in found:
        total[row.axes["num_kv_indices"] // 2] += row.treadle["count"]
    assert total == {5: 30, 40: 3, 300: 11}
    assert Counter(r.axes["num_kv_indices"] // 2 for r in found) == {5: 4, 40: 3, 300: 4}
    kept = {r.inputs["kv_indices"].path for r in found}
    assert {str(p.relative_to(tmp_path)) for p in (tmp_path / "blob").rglob("*")
            if p.is_file()} == kept  # fmt: skip
    with pytest.raises(InvalidRequest, match="closed"):
        recorder.close()


def test_every_call_of_a_cell_has_the_same_chance():
    keep, n, runs = 4, 20, 4000
    chosen: Counter[int] = Counter()
    for seed in range(runs):
        sketch = Sketch(keep, 9, random.Random(seed))
        slots: dict[int, int] = {}
        for i in range(n):
            slot = sketch.offer((0,))
            if slot is not None:
                slots[slot] = i
        chosen.update(slots.values())
    wanted = runs * keep / n
    assert all(abs(chosen[i] - wanted) < 5 * wanted**0.5 for i in range(n))
    full = Sketch(keep, 2, random.Random(0))
    assert [full.offer((i,)) for i in range(4)] == [0, 0, None, None]
    assert full.beyond == 2
    assert cell((0.0, 8.0)) == (-1000, 12)


def test_token_ids_and_weights_stay(tmp_path):
    data = planted.dataset(tmp_path, EMBED, traces=[])
    table, ids = torch.randn(50, 4), torch.tensor([41, 7, 7])
    for source, limits, kind in (
        ("a", Limits(), RandomInput),
        ("b", Limits(tokens=True, values=True), BlobInput),
    ):
        recorder = Recorder(data, source, limits=limits)
        recorder.resolve(EMBED.name, lambda ids: table[ids], bound={"table": table})(ids)
        recorder.close()
        row = next(r for r in rows(data, EMBED.name) if r.treadle["source"] == source)
        assert isinstance(row.inputs["ids"], kind)
        assert isinstance(row.inputs["table"], RandomInput)
        if kind is RandomInput:
            assert row.inputs["ids"].treadle["dist"]["high"] == 50
            assert not (tmp_path / "blob").exists()


def test_the_watched_program_is_unharmed(tmp_path):
    d = planted.decode()
    data = planted.dataset(tmp_path, d, traces=[])
    recorder = Recorder(data, "run", limits=Limits(bytes=600))
    handle = recorder.resolve(d.name, lambda *operands: operands)
    assert handle(None, 3) == (None, 3)  # not even a call of this definition
    for tokens in (3, 50, 700):  # the last two do not fit under the cap
        calls(recorder.resolve(d.name, attention), tokens)
    manifest = json.loads(recorder.close().read_text())
    assert manifest["faults"] == 1
    assert manifest["dropped"] == {"byte cap": 2}
    assert manifest["blob_bytes"] <= 600
    assert len(rows(data, d.name)) == 1
    calls(handle, 5)  # after the end: passed on, not recorded


def test_a_full_queue_drops_and_counts(tmp_path, monkeypatch):
    d = planted.decode()
    data = planted.dataset(tmp_path, d, traces=[])
    recorder = Recorder(data, "run", limits=Limits(waiting=1))
    gate = threading.Event()
    write = recorder._writer._write
    monkeypatch.setattr(recorder._writer, "_write", lambda s: (gate.wait(20), write(s)))
    handle = recorder.resolve(d.name, attention)
    for tokens in (2, 20, 200, 2000):
        calls(handle, tokens)
    gate.set()
    manifest = json.loads(recorder.close().read_text())
    assert manifest["dropped"]["queue full"] >= 2
    assert manifest["definitions"][d.name]["calls"] == 4


def test_a_filter_is_asked_first_and_calls_go_on_to_the_table(tmp_path):
    d = planted.gemm()
    one = planted.solution(d, "s", "def run(A, B):\n    return A @ B.T + 1000\n")
    data = planted.dataset(tmp_path, d, one, traces=[planted.trace(d, "s", {"M": 8})])
    table = planted.table(data)
    asked = []

    def wanted(name, axes):
        asked.append((name, dict(axes)))
        return axes["M"] == 8

    def plain(a, b):
        return a @ b.T

    class Library:
        matmul = staticmethod(plain)

    recorder = Recorder(data, "run", inner=table, wanted=wanted)
    site = Site(Library, "matmul", lambda original, r: staticmethod(r.resolve(d.name, original)))
    a, b = torch.randn(8, 4), torch.randn(6, 4)
    with enabled(recorder, [site]):
        Library.matmul(a, b)
        assert table.wait()
        assert torch.equal(Library.matmul(a, b), plain(a, b) + 1000)
        assert torch.equal(apply(d.name, a[:2], b, fallback=plain), plain(a[:2], b))
    recorder.close()
    assert Library.matmul is plain
    assert asked == [(d.name, {"M": m}) for m in (8, 8, 2)]
    assert sum(r.treadle["count"] for r in rows(data, d.name)) == 2


def test_replayed_steps_and_full_size_buffers_come_from_the_host(tmp_path):
    d = planted.decode()
    data = planted.dataset(tmp_path, d, traces=[])
    recorder = Recorder(data, "run")
    axes = {"batch_size": 2, "num_pages": 9, "len_indptr": 3, "num_kv_indices": 14}
    indptr = torch.tensor([0, 7, 14], dtype=torch.int32)
    host = {"kv_indptr": indptr.numpy(), "kv_indices": list(range(14)), "sm_scale": 0.1}
    recorder.observe(d.name, axes, host)
    for missing in ("kv_indices", "sm_scale"):
        with pytest.raises(InvalidRequest, match=missing):
            recorder.observe(d.name, axes, {k: v for k, v in host.items() if k != missing})
    handle = recorder.resolve(d.name, attention, host={"num_kv_indices": [3]})
    buffer = torch.arange(4096, dtype=torch.int32)
    handle(torch.zeros(1, 4, 8), torch.zeros(9, 1, 2, 8), torch.zeros(9, 1, 2, 8),
           torch.tensor([0, 3], dtype=torch.int32), buffer, 1.0)  # fmt: skip
    recorder.close()
    replayed, live = sorted(rows(data, d.name), key=lambda r: -r.axes["batch_size"])
    assert replayed.axes == axes
    assert isinstance(replayed.inputs["kv_indptr"], BlobInput)
    assert live.axes["num_kv_indices"] == 3
    given = live.inputs["kv_indices"]
    assert load_file(tmp_path / given.path)["kv_indices"].tolist() == [0, 1, 2]
