"""The CPU kernels against numpy: exact unpacking, dots within float error, equal bits elsewhere.

Bits of one instruction set against another over all tiles and splits are the C++ test's
(cpp/tests/cpu_kernels.cc); here the oracles are the GGUF formats and the graph's references.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from treadle import _core
from treadle.graph import reference
from treadle.models.quant import FORMATS, dequantise
from treadle.types import Tensor

KINDS = ("f32", "f16", "bf16", "q4_0", "q4_1", "q8_0", "q4_k", "q5_k", "q6_k", "q5_0", "q5_1")
HALVES = {
    "q4_0": (0,),
    "q4_1": (0, 2),
    "q8_0": (0,),
    "q5_0": (0,),
    "q5_1": (0, 2),
    "q4_k": (0, 2),
    "q5_k": (0, 2),
    "q6_k": (208,),
}
Array = NDArray[Any]


def weight(kind: str, rows: int, columns: int, seed: int) -> Tensor:
    """Random blocks of a kind as a GGUF file holds them, with finite scales."""
    rng = np.random.default_rng(seed)
    if kind in ("f32", "f16"):
        values = rng.standard_normal((rows, columns)).astype({"f32": "f4", "f16": "f2"}[kind])
        return Tensor(kind, (rows, columns), kind, values)
    if kind == "bf16":
        wide = rng.standard_normal((rows, columns)).astype(np.float32)
        return Tensor(kind, (rows, columns), kind, (wide.view(np.uint32) >> 16).astype(np.uint16))
    size = FORMATS[kind].size
    blocks = rng.integers(0, 256, (rows * columns // FORMATS[kind].weights, size), np.uint8)
    for at in HALVES[kind]:
        scale = rng.uniform(-0.1, 0.1, len(blocks)).astype(np.float16)
        blocks[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)
    return Tensor(kind, (rows, columns), kind, blocks.reshape(rows, -1))


def packed(tensor: Tensor) -> Array:
    """The whole matrix packed in two ranges of strips."""
    rows, columns = tensor.shape
    data = np.ascontiguousarray(tensor.data).view(np.uint8).reshape(-1)
    out = np.full(_core.cpu_packed_bytes(tensor.format, rows, columns), 0xAA, np.uint8)
    _core.cpu_pack(tensor.format, rows, columns, data, out, 1)
    _core.cpu_pack(tensor.format, rows, columns, data, out, 0, 1)
    return out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(37, 576), (50, 1536), (5, 96)])
def test_packed_rows_unpack_to_what_the_file_means(kind: str, shape: tuple[int, int]) -> None:
    rows, columns = shape
    if columns % FORMATS[kind].weights:
        columns = 768
    tensor = weight(kind, rows, columns, 7)
    wide = dequantise(tensor)
    stored = packed(tensor)
    row = np.empty(columns, np.float32)
    for i in range(rows):
        _core.cpu_unpack_row(kind, rows, columns, stored, i, row)
        np.testing.assert_array_equal(row, wide[i])


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_those_of_the_widened_weights(kind: str) -> None:
    columns = 768 if kind.endswith("_k") else 576
    tensor = weight(kind, 37, columns, 11)
    wide = dequantise(tensor).astype(np.float64)
    x = np.random.default_rng(3).standard_normal((11, columns)).astype(np.float32)
    exact = x.astype(np.float64)
    if FORMATS[kind].unpack is not None:  # activations are rounded to int8 in blocks of 32
        blocks = exact.reshape(len(x), -1, 32)
        scale = np.abs(blocks).max(axis=-1, keepdims=True) / 127
        exact = (np.rint(blocks / scale) * scale).reshape(len(x), -1)
    bound = 1e-5 * (np.abs(exact) @ np.abs(wide).T) + 1e-5
    found: list[Array] = []
    for isa in _core.cpu_isas():
        y = np.full((11, 37), np.nan, np.float32)
        _core.cpu_matmul(isa, kind, 37, columns, packed(tensor), x, y)
        assert (np.abs(y - exact @ wide.T) <= bound).all()
        split = np.full_like(y, np.nan)
        for t in range(11):  # one token and one strip at a time
            for strip in range(3):
                _core.cpu_matmul(
                    isa, kind, 37, columns, packed(tensor), x[t : t + 1], split[t : t + 1], strip, 1
                )
        np.testing.assert_array_equal(split, y)
        found.append(y)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_refusals_name_what_is_wrong() -> None:
    with pytest.raises(_core.CoreError, match="q4_k needs columns in multiples of 256"):
        _core.cpu_packed_bytes("q4_k", 16, 576)
    with pytest.raises(_core.CoreError, match="CPU kernels read f32"):
        _core.cpu_packed_bytes("q3_k", 16, 256)
    with pytest.raises(_core.CoreError, match="data has 5 bytes"):
        _core.cpu_pack("f32", 1, 1, np.zeros(5, np.uint8), np.zeros(64, np.uint8))
    with pytest.raises(_core.CoreError, match="is riscv"):
        _core.cpu_rmsnorm(
            "riscv", np.ones((1, 1), "f4"), np.ones(1, "f4"), 0.0, np.ones((1, 1), "f4")
        )


@pytest.mark.parametrize("isa", _core.cpu_isas())
def test_norm_gate_and_rotation_are_the_references(isa: str) -> None:
    rng = np.random.default_rng(5)
    x, w = rng.standard_normal((3, 577)).astype(np.float32), rng.standard_normal(577).astype("f4")
    y = np.empty_like(x)
    _core.cpu_rmsnorm(isa, x, w, 1e-5, y)
    np.testing.assert_allclose(y, reference("rmsnorm")(np, x, w, eps=1e-5), rtol=1e-5, atol=1e-6)
    for act in ("silu", "gelu_tanh"):
        g, u = (rng.standard_normal(1537) * 4).astype("f4"), rng.standard_normal(1537).astype("f4")
        made = np.empty_like(g)
        _core.cpu_glu(isa, act, g, u, made)
        wanted = reference("glu")(np, g[None], u[None], act=act)[0]
        np.testing.assert_allclose(made, wanted, rtol=1e-5, atol=2e-6)
    heads = rng.standard_normal((4, 3, 80)).astype(np.float32)
    pos = np.array([0, 5, 777, 8191], np.int32)
    freq = (10000.0 ** -(np.arange(24) / 24)).astype(np.float32)
    wanted = reference("rope")(np, heads, pos, freq, mscale=1.5)
    _core.cpu_rope(isa, heads, pos, freq, 1.5)
    np.testing.assert_allclose(heads, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("isa", _core.cpu_isas())
@pytest.mark.parametrize(("window", "softcap", "segment"), [(0, 0.0, 256), (40, 20.0, 48)])
def test_attention_is_the_reference(isa: str, window: int, softcap: float, segment: int) -> None:
    rng = np.random.default_rng(9)
    tokens, heads, kv_heads, size, length = 5, 6, 2, 64, 301
    pages = -(-length // 16)
    table = rng.permutation(pages + 3)[:pages].astype(np.int32)
    k, v = rng.standard_normal((2, length, kv_heads, size)).astype(np.float16)
    q = rng.standard_normal((tokens, heads, size)).astype(np.float32)
    ours = np.full((pages + 3, kv_heads, 2 * 16 * size), 0x7E00, np.uint16)  # NaN: never written
    at = np.arange(length)
    slots = table[at // 16] * 16 + at % 16
    _core.cpu_kv_write(isa, ours, k.astype("f4"), v.astype("f4"), slots.astype(np.int32))
    out = np.empty_like(q)
    _core.cpu_attention(isa, q, ours, table, length - tokens, 0.2, window, softcap, segment, out)
    kv = np.zeros((pages + 3, 2, 16, kv_heads, size), np.float32)
    kv[slots // 16, 0, slots % 16], kv[slots // 16, 1, slots % 16] = k, v
    starts, lens = np.array([0, tokens], np.int32), np.array([length], np.int32)
    wanted = reference("attention")(
        np, q, kv, starts, lens, table[None], scale=0.2, window=window, softcap=softcap
    )
    np.testing.assert_allclose(out, wanted, rtol=2e-5, atol=2e-6)


def test_the_best_legal_token_wins_and_ties_go_low() -> None:
    rng = np.random.default_rng(1)
    for size in (5, 16, 100, 49152):
        logits = rng.integers(-4, 5, size).astype(np.float32)
        assert _core.cpu_best_token(logits, None) == int(np.argmax(logits))
        legal = rng.random(size) < 0.1
        bits = np.zeros(-(-size // 32) * 32, bool)
        bits[:size] = legal
        words = np.packbits(bits, bitorder="little").view(np.int32)
        wanted = int(np.argmax(np.where(legal, logits, -np.inf))) if legal.any() else -1
        assert _core.cpu_best_token(logits, words) == wanted
    nothing = np.array([np.nan, -np.inf, np.nan], np.float32)
    assert _core.cpu_best_token(nothing, None) == 1
