"""Params as bytes: what a start takes from a file without numpy equals what numpy makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from treadle import _core
from treadle.models.mapping import Elements
from treadle.types import Tensor


@pytest.mark.parametrize("heads", [1, 3, 4])
def test_interleaved_rows_go_back_to_halves(heads: int) -> None:
    rows = np.random.default_rng(heads).integers(0, 256, (24, 7), np.uint8)
    out = np.zeros_like(rows)
    _core.cpu_halves(rows, heads, out)
    paired = rows.reshape(heads, -1, 2, 7)
    assert (out == paired.swapaxes(1, 2).reshape(rows.shape)).all()


def test_halves_of_rows_that_are_no_pairs_are_refused() -> None:
    rows = np.zeros((24, 7), np.uint8)
    for heads, out in ((0, rows), (5, rows), (24, rows), (3, rows[:-1])):
        with pytest.raises(_core.CoreError, match="rows"):
            _core.cpu_halves(rows, heads, np.zeros_like(out))


def test_the_bytes_of_a_tensor_are_those_of_its_array() -> None:
    data = np.arange(12, dtype=np.float32).reshape(3, 4)
    for stored in (data, np.asfortranarray(data), data[::-1]):
        assert Tensor("w", (3, 4), "f32", stored).raw == stored.tobytes()
    raw = memoryview(bytes(range(60)))
    blocks = Tensor("w", (3, 32), "q4_1", Elements.of("q4_1", (3, 32), raw))
    assert (blocks.raw, blocks.data.shape) == (raw, (3, 20))
    halves = Tensor("w", (3, 10), "bf16", Elements.of("bf16", (3, 10), raw))
    assert (halves.data.dtype, halves.data.shape) == (np.uint16, (3, 10))
