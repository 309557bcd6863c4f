"""The two array spaces against array-api-compat's numpy and torch."""

from __future__ import annotations

import array_api_compat.numpy as np_compat
import array_api_compat.torch as torch_compat
import numpy as np
import pytest
import torch

from treadle.graph import namespace
from treadle.graph.xp import NumpySpace, TorchSpace

X = np.array([[3.0, -1.0, 2.0], [0.5, 0.5, -4.0]], np.float32)
INDEX = np.array([[2, 0], [1, 1]], np.int64)
CALLS = {
    "astype": lambda xp, x, i: xp.astype(x, xp.float64),
    "concat": lambda xp, x, i: xp.concat((x, x), axis=-1),
    "permute_dims": lambda xp, x, i: xp.permute_dims(x, (1, 0)),
    "argsort": lambda xp, x, i: xp.argsort(i, axis=-1, descending=False),
    "take": lambda xp, x, i: xp.take(x, i[:, 0] % 2, axis=0),
    "take_along_axis": lambda xp, x, i: xp.take_along_axis(x, i, axis=-1),
    "max": lambda xp, x, i: xp.max(x, axis=-1, keepdims=True),
    "sum": lambda xp, x, i: xp.sum(x, axis=-1, keepdims=True),
    "mean": lambda xp, x, i: xp.mean(x, axis=-1, keepdims=True),
    "where": lambda xp, x, i: xp.where(x > 0, x, -1.0),
    "nonzero": lambda xp, x, i: xp.nonzero(i == 1)[1],
    "unique_values": lambda xp, x, i: xp.unique_values(i),
    "reshape": lambda xp, x, i: xp.reshape(x, (3, 2)),
    "matmul": lambda xp, x, i: xp.matmul(x, x.T),
    "exp": lambda xp, x, i: xp.exp(x),
    "sqrt": lambda xp, x, i: xp.sqrt(x * x),
    "tanh": lambda xp, x, i: xp.tanh(x),
    "sin": lambda xp, x, i: xp.sin(x),
    "cos": lambda xp, x, i: xp.cos(x),
    "abs": lambda xp, x, i: xp.abs(x),
}


@pytest.mark.parametrize("name", sorted(CALLS))
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_same_as_the_standard(name: str, library: str) -> None:
    ours, theirs, load = (
        (namespace(np), np_compat, np.asarray)
        if library == "numpy"
        else (namespace(torch), torch_compat, torch.from_numpy)
    )
    got, expected = (CALLS[name](xp, load(X), load(INDEX)) for xp in (ours, theirs))
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(got), np.asarray(expected))


@pytest.mark.parametrize(("library", "load"), [(np, np.asarray), (torch, torch.from_numpy)])
def test_what_the_standard_lacks(library, load) -> None:
    xp = namespace(library)
    x = load(X)
    assert xp.zeros((2, 1), like=x).dtype == x.dtype
    assert xp.arange(2, 5, like=x).tolist() == [2, 3, 4]
    ties = load(np.array([1.0, 3.0, 3.0, 1.0, 3.0], np.float32))
    assert xp.argsort(ties, descending=True).tolist() == [1, 2, 4, 0, 3]


def test_every_function_written_here_is_tested() -> None:
    tested = {*CALLS, "zeros", "arange"}
    for space in (NumpySpace, TorchSpace):
        assert {n for n in vars(space) if not n.startswith("_")} <= tested


def test_a_space_is_its_own_namespace() -> None:
    assert namespace(namespace(np)) is namespace(np)
