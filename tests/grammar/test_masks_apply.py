"""Masks on logits: every float type, strided rows, table ids, what lies beyond a mask."""

from __future__ import annotations

import numpy as np
import pytest

from treadle.errors import InvalidRequest
from treadle.grammar import apply_mask, apply_mask_ids


def masks(rng: np.random.Generator, n: int, words: int) -> np.ndarray:
    """int32 [n, words] with words of zeros, words of ones and mixed ones."""
    bits = rng.integers(0, 1 << 32, (n, words), dtype=np.uint64).astype(np.uint32)
    bits[rng.random((n, words)) < 0.3] = 0
    bits[rng.random((n, words)) < 0.3] = 0xFFFFFFFF
    return bits.view(np.int32)


def legal(bits: np.ndarray, width: int) -> np.ndarray:
    """bool [n, width], False beyond the bits."""
    flat = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little").astype(bool)
    out = np.zeros((bits.shape[0], width), dtype=bool)
    out[:, : flat.shape[1]] = flat[:, :width]
    return out


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("width", [1, 31, 32, 33, 100, 4096, 5003])
def test_each_type_and_width(dtype: str, width: int) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(width)
    bits = masks(rng, 3, (width + 31) // 32)
    logits = torch.from_numpy(rng.standard_normal((3, width + 5))).to(getattr(torch, dtype))
    before = logits.clone()
    apply_mask(logits[:, :width], bits)  # rows with a gap between them
    expected = before[:, :width].masked_fill(~torch.from_numpy(legal(bits, width)), -torch.inf)
    assert torch.equal(logits[:, :width], expected)
    assert torch.equal(logits[:, width:], before[:, width:])


@pytest.mark.parametrize("keep", [False, True])
def test_beyond_the_mask(keep: bool) -> None:
    logits = np.zeros((2, 70), dtype=np.float32)
    apply_mask(logits, np.full((2, 2), -1, dtype=np.int32), keep_beyond=keep)
    assert (logits[:, :64] == 0).all()
    assert (logits[:, 64:] == (0 if keep else -np.inf)).all()


def test_chosen_rows_and_one_row() -> None:
    rng = np.random.default_rng(1)
    bits = masks(rng, 4, 3)
    logits = np.zeros((4, 90), dtype=np.float16)
    apply_mask(logits, bits, [2, 0], width=80)
    hit = np.isneginf(logits)
    assert not hit[[1, 3]].any()
    assert not hit[:, 80:].any()
    assert (hit[[0, 2], :80] == ~legal(bits, 90)[[0, 2], :80]).all()
    row = np.zeros(90, dtype=np.float32)
    apply_mask(row, bits[:1])
    assert (np.isneginf(row) == ~legal(bits, 90)[0]).all()


def test_table_ids() -> None:
    rng = np.random.default_rng(2)
    table, staging = masks(rng, 5, 3), masks(rng, 4, 3)
    logits = np.zeros((6, 96), dtype=np.float32)
    apply_mask_ids(logits, table, [4, -1, -2, 4], staging=staging, index=[5, 0, 1, 2])
    hit = np.isneginf(logits)
    assert (hit[5] == ~legal(table, 96)[4]).all()
    assert (hit[2] == hit[5]).all()
    assert (hit[1] == ~legal(staging, 96)[2]).all()
    assert not hit[[0, 3, 4]].any()


@pytest.mark.parametrize(
    "call",
    [
        lambda x, m: apply_mask(x, m, [0, 2]),
        lambda x, m: apply_mask(x, m, [-1]),
        lambda x, m: apply_mask(x, m[:1]),
        lambda x, m: apply_mask(x, m, width=65),
        lambda x, m: apply_mask_ids(x, m, [0, 2]),
        lambda x, m: apply_mask_ids(x, m, [0, -3]),
        lambda x, m: apply_mask_ids(x, m, [0, -2]),
        lambda x, m: apply_mask_ids(x, m, [0], index=[0, 1]),
    ],
)
def test_a_bad_call_writes_nothing(call: object) -> None:
    logits = np.zeros((2, 64), dtype=np.float32)
    with pytest.raises(InvalidRequest):
        call(logits, np.zeros((2, 2), dtype=np.int32))  # type: ignore[operator]
    assert not logits.any()


@pytest.mark.parametrize(
    "logits", [np.zeros((2, 64)), np.zeros((2, 2, 64), dtype=np.float32), [0.0], None]
)
def test_other_buffers_are_type_errors(logits: object) -> None:
    with pytest.raises(TypeError):
        apply_mask(logits, np.zeros((2, 2), dtype=np.int32))
