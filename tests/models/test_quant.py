"""Block formats against package gguf, bit for bit, and the tensors that must be refused."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize, quantize
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.errors import ModelFormatError, Unsupported
from treadle.models import FORMATS, dequantise
from treadle.models.quant import CHUNK_WEIGHTS
from treadle.types import Tensor

BLOCKS = [name for name, kind in FORMATS.items() if kind.unpack]


def kind_of(name: str) -> gguf.GGMLQuantizationType:
    return gguf.GGMLQuantizationType[name.upper()]


def test_sizes_are_those_of_gguf() -> None:
    for name, kind in FORMATS.items():
        assert gguf.GGML_QUANT_SIZES[kind_of(name)] == (kind.weights, kind.size)


@pytest.mark.parametrize("name", BLOCKS)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 5), blocks=st.integers(1, 6))
def test_random_bytes_equal_the_oracle(name: str, seed: int, rows: int, blocks: int) -> None:
    """Every byte pattern is a legal block: also infinite, subnormal and NaN scales."""
    kind = FORMATS[name]
    raw = np.random.default_rng(seed).integers(0, 256, (rows, blocks * kind.size), np.uint8)
    found = dequantise(Tensor("w", (rows, blocks * kind.weights), name, raw))
    with np.errstate(all="ignore"):
        wanted = dequantize(raw, kind_of(name))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", BLOCKS)
def test_chunks_join(name: str) -> None:
    kind = FORMATS[name]
    rows = CHUNK_WEIGHTS // kind.weights + 3  # one block a row: a whole chunk and a rest
    raw = np.random.default_rng(0).integers(0, 100, (rows, kind.size), np.uint8)
    found = dequantise(Tensor("w", (rows, 1, kind.weights), name, raw))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(found[:, 0], dequantize(raw, kind_of(name)))


@pytest.mark.parametrize("name", ["f32", "f16", "bf16"])
def test_plain_formats_widen_exactly(name: str) -> None:
    values = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    if name == "bf16":
        data = quantize(values, kind_of(name)).view(np.uint16)
        wanted = dequantize(data.view(np.uint8), kind_of(name))
    else:
        data = values.astype({"f32": np.float32, "f16": np.float16}[name])
        wanted = data.astype(np.float32)
    np.testing.assert_array_equal(dequantise(Tensor("w", (4, 8), name, data)), wanted)


def test_a_tensor_that_contradicts_itself_is_named() -> None:
    with pytest.raises(Unsupported, match=r"l0\.q: format iq2_xs .*q4_k"):
        dequantise(Tensor("l0.q", (1, 32), "iq2_xs", np.zeros((1, 8), np.uint8)))
    for shape in ((2, 32), (1, 48), (1, 33)):
        with pytest.raises(ModelFormatError, match=r"l0\.q: q4_0 data is \(1, 18\)"):
            dequantise(Tensor("l0.q", shape, "q4_0", np.zeros((1, 18), np.uint8)))
    with pytest.raises(ModelFormatError, match=r"\(2, 3\), not \(3, 2\)"):
        dequantise(Tensor("l0.q", (3, 2), "f32", np.zeros((2, 3), np.float32)))
