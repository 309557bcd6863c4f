"""Masks by torch's operations against the C++ ones, and the table of rows on the device."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from treadle.backends.torch.mask import NO_MASK, STAGED, MaskTable, apply_mask, apply_mask_ids
from treadle.errors import InvalidRequest, Unsupported


def some(seed: int, n: int, words: int) -> Any:
    """int32 [n, words]."""
    made = torch.Generator().manual_seed(seed)
    return torch.randint(-(2**31), 2**31, (n, words), generator=made).to(torch.int32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("index", [None, [3, 1]])
def test_two_ways_agree(dtype: Any, keep: bool, index: list[int] | None) -> None:
    results: list[Any] = []
    for way in ("native", "torch"):
        dense, by_id = (torch.zeros((4, 107), dtype=dtype) for _ in range(2))
        apply_mask(dense, some(1, 4, 3), index, keep_beyond=keep, way=way)
        ids = [2, NO_MASK, STAGED, 0][: len(index or range(4))]
        apply_mask_ids(
            by_id,
            some(2, 5, 3),
            ids,
            staging=some(3, 4, 3),
            index=index,
            width=101,
            keep_beyond=keep,
            way=way,
        )
        results.append(torch.stack((dense, by_id)))
    assert torch.equal(results[0], results[1])
    assert bool(torch.isneginf(results[0]).any(-1).any())
    assert (results[0][1][:, 101:] == 0).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda x, m: apply_mask(x, m, [4]),
        lambda x, m: apply_mask(x, m[:1]),
        lambda x, m: apply_mask(x.double(), m),
        lambda x, m: apply_mask(x, m.long()),
        lambda x, m: apply_mask(x.t(), m),
        lambda x, m: apply_mask(x, m, width=65),
        lambda x, m: apply_mask_ids(x, m, [0, 9]),
        lambda x, m: apply_mask_ids(x, m, [STAGED]),
        lambda x, m: apply_mask_ids(x, m, [0, 0], index=[1]),
        lambda x, m: apply_mask(x, m, way="triton"),
    ],
)
def test_bad_calls_write_nothing(call: Any) -> None:
    logits = torch.zeros((2, 64))
    with pytest.raises((InvalidRequest, Unsupported)):
        call(logits, torch.zeros((2, 2), dtype=torch.int32))
    assert not logits.any()


def test_a_table_uploads_once_and_forgets_the_oldest() -> None:
    fetched: list[str] = []

    def fetch(key: str) -> Any:
        fetched.append(key)
        return torch.full((2,), ord(key), dtype=torch.int32)

    table = MaskTable(3, 64, "cpu")
    a, none, b, again = table.ids(["a", None, "b", "a"], fetch)
    assert (none, again) == (NO_MASK, a)
    assert table.ids(["a", "c"], fetch)[0] == a
    assert fetched == ["a", "b", "c"]
    d = table.ids(["d", "a"], fetch)  # b is the oldest, and a is in use
    assert d == [b, a]
    assert (table.rows[b] == ord("d")).all()
    assert (table.rows[a] == ord("a")).all()
    full = table.ids(["a", "e", "f", "g"], fetch)
    assert full[0] == a
    assert full[3] == STAGED
    assert sorted({a, b, *full[:3]}) == [0, 1, 2]
    logits = torch.zeros((1, 64))
    apply_mask_ids(logits, table.rows, [a])
    assert int((logits == 0).sum()) == 2 * bin(ord("a")).count("1")
