"""Kernels of tier T2 against the references of their ops, where the adapter has f16 and subgroups."""

from __future__ import annotations

import numpy as np
import pytest
from gpu import device, launch, read
from random_blocks import F32, floats, packed

from treadle.export import fast
from treadle.graph import reference
from treadle.models.quant import dequantise


@pytest.fixture(autouse=True)
def _adapter() -> None:
    if not {"shader-f16", "subgroup"} <= set(device().features):
        pytest.skip("the adapter has no f16 or no subgroups")


@pytest.mark.parametrize(("format", "rows", "columns"), [("q4_0", 33, 576), ("q4_1", 7, 192)])
def test_fast_projections(format: str, rows: int, columns: int) -> None:
    rng = np.random.default_rng(rows)
    w, wu = packed(rng, format, rows, columns), packed(rng, format, rows, columns)
    wide, wide_up = dequantise(w), dequantise(wu)
    x, norm = floats(rng, 2, columns), 1 + 0.3 * floats(rng, columns)
    y, b = floats(rng, 2, rows), floats(rng, rows)
    size = fast.planes(format, w.data.reshape(-1, w.data.shape[1] // (columns // 32)))
    given = {"x": x, "norm": norm, "w": size[0], "scales": size[1], "y": y, "b": b}
    batch = np.array([1, 0], np.uint32)
    wanted = {
        "linear": reference("linear")(np, x, wide, b),
        "linear_add": reference("linear_add")(np, x, wide, y),
        "rmsnorm_linear": reference("rmsnorm_linear")(np, x, norm, wide, eps=1e-5),
        "take_norm_linear": reference("rmsnorm_linear")(np, x[::-1], norm, wide, eps=1e-5),
    }
    for op, result in wanted.items():
        eps = 1e-5 if "norm" in op else None
        kernel = fast.project(op, format, rows, columns, eps=eps, bias=op == "linear", turn=2)
        held = given | {"batch": batch, "out": np.zeros((2, rows), F32)}
        out = read(launch(kernel, held, (2, 2), {"rows": 0})["out"], F32, 2 * rows)
        close(out, result)
    both = np.concatenate([w.data, wu.data])
    size = fast.planes(format, both.reshape(-1, both.shape[1] // (columns // 32)))
    kernel = fast.gate_up_glu(format, rows, columns, act="silu", eps=1e-5, turn=3)
    held = given | {"w": size[0], "scales": size[1], "out": np.zeros((2, rows), F32)}
    out = read(launch(kernel, held, (3, 2))["out"], F32, 2 * rows)
    h = reference("rmsnorm")(np, x, norm, eps=1e-5)
    close(out, reference("gate_up_glu")(np, h, wide, wide_up, act="silu"))


def close(got: np.ndarray, wanted: np.ndarray) -> None:
    """Inputs are rounded to float16 on their way."""
    worst = np.abs(got - wanted.reshape(-1)).max() / np.abs(wanted).max()
    assert worst < 2e-3, worst
