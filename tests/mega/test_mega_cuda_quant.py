"""Weights of a file's formats in the generated kernel: on fibers against the float reference of the
dequantised weights, and for sm_90a without spills."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_host import compiler, program, rounded, rounding
from test_mega_cuda_host import CONTEXT, PAGE, assembled, follow, rope, shape
from tiny_models import weights

from treadle.backends.mega.cuda_build import build, nvcc
from treadle.backends.mega.cuda_tiles import Codes, Eights, bf16, matrix_of, plain, values, widened
from treadle.errors import ModelFormatError
from treadle.graph import Graph
from treadle.models import llama
from treadle.models.quant import FORMATS, dequantise
from treadle.types import Tensor


def half(x: Any) -> np.ndarray:
    return np.asarray(x, np.float16).view(np.uint8)


def block_tensor(name: str, format: str, rows: int, columns: int, seed: int) -> Tensor:
    """Random blocks of a format: weights of about columns ** -0.5."""
    rng = np.random.default_rng(seed)
    kind = FORMATS[format]
    count = rows * columns // kind.weights
    size = columns**-0.5 / 4.6
    data = rng.integers(0, 256, (count, kind.size), np.uint8)
    scale = size * rng.uniform(0.5, 1.5, (count, 1))
    if format == "q4_k":  # by six bits in 0 ... 63
        data[:, 0:2], data[:, 2:4] = half(scale / 32), half(scale * 8 / 32)
    else:
        data[:, 0:2] = half(scale)
    if format == "q4_1":
        data[:, 2:4] = half(-8 * scale + size * rng.standard_normal((count, 1)))
    return Tensor(name, (rows, columns), format, data.reshape(rows, -1))


def eights(rows: int, columns: int, seed: int) -> Eights:
    """Random e4m3 codes: of one matrix all, of the next small ones with many subnormals."""
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 256, (rows, columns), np.uint8)
    code = code & 0x8F if seed % 2 else np.where(code & 127 == 127, 0, code).astype(np.uint8)
    scale = rng.uniform(0.5, 1.5, (rows, columns // 128 if seed % 3 else 1)) * columns**-0.5
    return Eights(code, (scale * (64 if seed % 2 else 1 / 150)).astype(np.float32))


def formats_of(graph: Graph, by_end: Mapping[str, str]) -> Graph:
    found = {
        name: format
        for name in graph.params
        for end, format in by_end.items()
        if name.endswith(end)
    }
    assert len(found) >= len(by_end)
    return graph.with_formats(found)


MODELS: dict[str, tuple[Graph, int, int]] = {  # graph, workers, rows
    # Layers of one template; down is cut along k, lm_head stays in bf16.
    "q4_0": (
        formats_of(
            llama.build(llama.Config(shape(F=768, V=128), rope()), page=PAGE),
            dict.fromkeys((".q", ".k", ".v", ".o", ".gate", ".up", ".down"), "q4_0"),
        ), 8, 1),
    # Formats side by side in a site; tiles of 1,024 columns, of the 256 left, and short ones.
    "q4_1": (
        formats_of(
            llama.build(llama.Config(shape(layers=1, F=1280, V=128), rope()), page=PAGE),
            {".q": "q4_1", ".k": "q4_0", ".v": "q4_1", ".gate": "q4_0", ".up": "q4_1",
             ".down": "q4_k", "head": "q4_1"},
        ), 4, 2),
    # Scales of rows and of blocks of 128 columns; down has a tile of 128.
    "fp8": (
        formats_of(
            llama.build(llama.Config(shape(layers=1, D=128, F=640), rope()), page=PAGE),
            dict.fromkeys((".q", ".k", ".v", ".o", ".gate", ".up", ".down", "head"), "fp8"),
        ), 4, 1),
}  # fmt: skip


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler on this machine")
@pytest.mark.parametrize("name", MODELS)
def test_codes_equal_the_reference(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the reference that multiplies with the widened weights: no weight is rounded."""
    rounding(monkeypatch)
    graph, workers, most = MODELS[name]
    params = rounded(graph, weights(graph))
    matrices: dict[str, Any] = {}
    for seed, (name_of, param) in enumerate(graph.params.items()):
        if param.format != "f32":
            rows, columns = (size or 0 for size in graph.dims.sizes(param.shape))
            matrices[name_of] = (
                eights(rows, columns, seed)
                if param.format == "fp8"
                else matrix_of(block_tensor(name_of, param.format, rows, columns, seed))
            )
            params[name_of] = values(matrices[name_of]).astype(np.float64)
    made = program(graph, workers, most, CONTEXT)
    follow(name, graph, params, assembled(graph, params, made, matrices))


def test_codes_mean_what_the_file_does() -> None:
    """Scales of Q4_0 and Q4_1 stay as they are; products of Q4_K round to float16."""
    for format in ("q4_0", "q4_1", "q4_k"):
        tensor = block_tensor(format, format, 32, 512, 3)
        made, wanted = matrix_of(tensor), dequantise(tensor)
        assert isinstance(made, Codes)
        most = 0 if format != "q4_k" else 2**-11 * 2 * np.abs(wanted).max()
        np.testing.assert_allclose(values(made), wanted, rtol=0, atol=most)
        np.testing.assert_array_equal(widened(plain(made)), widened(bf16(values(made))))
    tensor.data[0, 0:2] = half([6e4])
    with pytest.raises(ModelFormatError, match="float16"):
        matrix_of(tensor)


@pytest.mark.skipif(nvcc() is None, reason="no nvcc on this machine")
def test_a_kernel_of_codes_fits_its_registers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_CACHE", os.environ.get("TREADLE_CACHE", str(tmp_path)))
    graph, workers, _ = MODELS["q4_1"]
    _, log = build(program(graph, workers, 1, CONTEXT).text)
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log)
    assert set(spills) == {("0", "0")}, log
    (registers,) = re.findall(r"Used (\d+) registers", log)
    assert int(registers) <= 168
