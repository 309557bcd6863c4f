"""Tier T2 against the references, where the adapter has f16 and subgroups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from executor import PlanExecutor
from gpu import device, launch, read
from random_blocks import F32, floats, packed, table_of, weights_of

from treadle.export import fast
from treadle.export.lower import tier_gpu
from treadle.graph import Graph, reference, run
from treadle.models import llama, qwen3
from treadle.models.quant import dequantise
from treadle.models.rope import Rope
from treadle.models.shape import Shape
from treadle.types import Batch


@pytest.fixture(autouse=True)
def _adapter() -> None:
    if not {"shader-f16", "subgroup"} <= set(device().features):
        pytest.skip("the adapter has no f16 or no subgroups")


@pytest.mark.parametrize(("format", "rows", "columns"), [("q4_0", 33, 576), ("q4_1", 7, 1152)])
def test_fast_projections(format: str, rows: int, columns: int) -> None:
    rng = np.random.default_rng(rows)
    w, wu = packed(rng, format, rows, columns), packed(rng, format, rows, columns)
    wide, wide_up = dequantise(w), dequantise(wu)
    x, norm = floats(rng, 2, columns), 1 + 0.3 * floats(rng, columns)
    y, b = floats(rng, 2, rows), floats(rng, rows)
    size = fast.planes(
        format, w.data.reshape(-1, w.data.shape[1] // (columns // 32)), columns // 32
    )
    given = {"x": x, "norm": norm, "w": size[0], "scales": size[1], "y": y, "b": b}
    batch = np.array([1, 0], np.uint32)
    wanted = {
        "linear": reference("linear")(np, x, wide, b),
        "linear_add": reference("linear_add")(np, x, wide, y),
        "rmsnorm_linear": reference("rmsnorm_linear")(np, x, norm, wide, eps=1e-5),
        "take_norm_linear": reference("rmsnorm_linear")(np, x[::-1], norm, wide, eps=1e-5),
    }
    each = -(-columns // 32 // 16)  # blocks a thread; not every thread has its last one
    forms = (fast.Form(16, each, 2, 2), fast.Form(24, each, 3, 3))
    for i, (op, result) in enumerate(wanted.items()):
        form = forms[(i + rows) % 2]
        eps = 1e-5 if "norm" in op else None
        kernel = fast.project(op, format, rows, columns, eps=eps, bias=op == "linear", form=form)
        held = given | {"batch": batch, "out": np.zeros((2, rows), F32)}
        out = read(
            launch(kernel, held, (fast.grid(rows, form), 2), {"rows": 0})["out"], F32, 2 * rows
        )
        close(out, result)
    rows -= rows % 2  # of a gate and its up projection, rows are even
    both = np.concatenate([w.data[:rows], wu.data[:rows]])
    wide, wide_up = wide[:rows], wide_up[:rows]
    size = fast.planes(format, both.reshape(-1, both.shape[1] // (columns // 32)), columns // 32)
    form = forms[len(w.data) % 2]
    kernel = fast.gate_up_glu(format, rows, columns, act="silu", eps=1e-5, form=form)
    held = given | {"w": size[0], "scales": size[1], "out": np.zeros((2, rows), F32)}
    out = read(launch(kernel, held, (fast.grid(2 * rows, form), 2))["out"], F32, 2 * rows)
    h = reference("rmsnorm")(np, x, norm, eps=1e-5)
    close(out, reference("gate_up_glu")(np, h, wide, wide_up, act="silu"))


@pytest.mark.parametrize(("format", "form"), [
    ("q4_0", fast.Form(16, 1, 4, 2)), ("q4_1", fast.Form(8, 2, 16, 1)),
])  # fmt: skip
def test_outputs_packed_for_the_next_projection(format: str, form: fast.Form) -> None:
    rng = np.random.default_rng(form.span)
    rows, columns, next_rows = 320, 192, 128
    sizes = ((rows, columns), (rows, columns), (next_rows, rows), (columns, next_rows))
    w, wu, down, up = (packed(rng, format, *size) for size in sizes)
    x = floats(rng, 2, columns)
    x[1] *= 1e-20  # all of its outputs are 0
    both = np.concatenate([w.data, wu.data])
    quants, scales = fast.planes(
        format, both.reshape(-1, both.shape[1] // (columns // 32)), columns // 32
    )
    kernel = fast.gate_up_glu(format, rows, columns, act="silu", packs=True, form=form)
    room = np.full((2, fast.packed_width(rows)), np.nan, F32)
    held = {"x": x, "w": quants, "scales": scales, "packed": room}
    made = launch(kernel, held, (fast.grid(2 * rows, form), 2))["packed"]
    quants, scales = fast.planes(
        format, down.data.reshape(-1, down.data.shape[1] // (rows // 32)), rows // 32
    )
    y = floats(rng, 2, next_rows)
    norm = 1 + 0.3 * floats(rng, next_rows)
    held = {"x": made, "w": quants, "scales": scales, "y": y, "next": norm}
    room = np.full((2, fast.packed_width(next_rows)), np.nan, F32)
    held |= {"out": np.zeros((2, next_rows), F32), "packed": room}
    form = form._replace(turns=max(1, form.turns // 2))  # four quads: half a block a workgroup
    kernel = fast.project("linear_add", format, next_rows, rows, packed=True, packs=True, form=form)
    made = launch(kernel, held, (fast.grid(next_rows, form), 2))
    out = read(made["out"], F32, 2 * next_rows)
    h = reference("gate_up_glu")(np, x, dequantise(w), dequantise(wu), act="silu")
    h = reference("linear_add")(np, h, dequantise(down), y)
    close(out, h)
    np.testing.assert_array_equal(out[next_rows:], y[1])
    quants, scales = fast.planes(
        format, up.data.reshape(-1, up.data.shape[1] // (next_rows // 32)), next_rows // 32
    )
    held = {"x": made["packed"], "w": quants, "scales": scales, "out": np.zeros((2, columns), F32)}
    kernel = fast.project(
        "rmsnorm_linear", format, columns, next_rows, eps=1e-5, packed=True, form=form
    )
    out = read(launch(kernel, held, (fast.grid(columns, form), 2))["out"], F32, 2 * columns)
    close(out, reference("rmsnorm_linear")(np, h, norm, dequantise(up), eps=1e-5))


def close(got: np.ndarray, wanted: np.ndarray) -> None:
    """Of a block of inputs 15 bits are kept; q4_1 takes large sums from one another."""
    assert off(got, wanted) < 3e-4


def off(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(got - wanted.reshape(-1)).max() / np.abs(wanted).max())


def graph_of(family: str) -> Graph:
    """Of two layers: four or six heads over two; Qwen 3 with head norms and a window."""
    if family == "llama":
        shape = Shape(2, 128, 4, 2, 64, 1152, 97, 1e-5, 512, True)
        return llama.build(llama.Config(shape, Rope(64, 100.0)))
    shape = Shape(2, 128, 6, 2, 128, 192, 97, 1e-5, 512, False)
    return qwen3.build(qwen3.Config(shape, Rope(128, 100.0), (0, 20)))


@pytest.mark.parametrize(("family", "format"), [("llama", "q4_0"), ("qwen3", "q4_1")])
def test_a_whole_decode_with_keys_in_shares(
    family: str, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast, "PACKS", 64)  # so that tokens of this width are packed
    graph = graph_of(family)
    weights = weights_of(graph, "q4_0")
    if format == "q4_1":
        weights |= {n: t for n, t in weights_of(graph, "q4_1").items() if not n.endswith(".v")}
    tier = tier_gpu("t2", graph, table_of(weights))
    assert len(tier.record["steps"]["decode"]) == 5 * 2 + 2
    pages = 20  # three shares of the keys, of which the first steps leave most without any
    plan = PlanExecutor(tier, weights, {"T": 1, "S": 1, "R": 1, "L": pages, "P": pages, "E": 8})
    params = {name: dequantise(tensor) for name, tensor in weights.items()}
    state: Any = {
        name: np.full([n or pages for n in graph.dims.sizes(v.shape)], np.nan, np.float16)
        for name, v in graph.state.items()
    }
    table, errors = np.arange(pages, dtype=np.int32)[None], list[float]()
    for at in range(40):
        one = np.array([at], np.int32)
        rows, starts = np.zeros(1, np.int32), np.array([0, 1], np.int32)
        batch = Batch(one * 7 % 97, one, one, starts, one + 1, table, rows)
        inputs = {name: getattr(batch, name) for name in graph.inputs}
        outs, state = run(graph, inputs, params, state, in_place=True)
        errors.append(off(plan.forward(batch).reshape(-1), outs[graph.outputs[0]]))
    assert max(errors) < 2e-2  # random weights amplify what rounding leaves
    assert np.median(errors) < 3e-3
