"""The interpreter: batches cut in any way give the same numbers, on either library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from decoders import Pool, Spec, decoder, specs, states, weights
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.errors import GraphError
from treadle.graph import FUSED, fuse, run

torch.set_num_threads(1)


@settings(max_examples=35)
@given(specs, st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(0, 99))
def test_prefill_equals_chunks_and_decode(spec: Spec, chunks: list[int], seed: int) -> None:
    graph = decoder(spec)
    params, total = weights(graph, seed), sum(chunks)
    whole, _ = run(graph, Pool(1).batch({0: total, 1: 3}), params, states(graph))
    pool, kv, pieces = Pool(2), states(graph), []
    for index, new in enumerate(chunks):
        grow = {1: 3, 0: new} if index == 1 else {0: new}  # sequence 1 joins, in front
        out, kv = run(graph, pool.batch(grow), params, kv)
        pieces.append(next(iter(out.values()))[-new:])
    expected = next(iter(whole.values()))[:total]
    np.testing.assert_allclose(np.concatenate(pieces), expected, rtol=1e-11, atol=1e-12)


@settings(max_examples=20)
@given(specs, st.integers(0, 99))
def test_torch_equals_numpy_in_float32(spec: Spec, seed: int) -> None:
    graph = decoder(spec)
    args = Pool(seed).batch({0: 5, 1: 2}), weights(graph, seed, "float32"), states(graph, "float32")
    ours, kv = run(graph, *args)
    tensors = ({n: torch.from_numpy(a.copy()) for n, a in arrays.items()} for arrays in args)
    theirs, kv_torch = run(graph, *tensors, torch)
    exact, _ = run(graph, args[0], weights64(args[1]), weights64(args[2]))
    for name in graph.outputs:
        assert theirs[name].dtype == torch.float32
        np.testing.assert_allclose(ours[name], exact[name], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(theirs[name].numpy(), exact[name], rtol=1e-4, atol=1e-4)
    for name in graph.state:
        np.testing.assert_allclose(kv[name], kv_torch[name].numpy(), rtol=1e-4, atol=1e-4)


def weights64(arrays):
    return {name: array.astype("float64") for name, array in arrays.items()}


def test_rows_choose_the_logits() -> None:
    graph = decoder(Spec())
    params = weights(graph, 1)
    every, _ = run(graph, Pool(1).batch({0: 4, 1: 2}), params, states(graph))
    last, _ = run(graph, Pool(1).batch({0: 4, 1: 2}, every_row=False), params, states(graph))
    np.testing.assert_allclose(last["logits"], every["logits"][[3, 5]], rtol=1e-12)


def test_state_is_copied_unless_asked() -> None:
    graph = fuse(decoder(Spec()), set(FUSED))
    kv = states(graph)
    before = {name: array.copy() for name, array in kv.items()}
    args = Pool(1).batch({0: 4}), weights(graph, 1), kv
    _, after = run(graph, *args)
    assert all(np.array_equal(before[n], kv[n]) for n in kv)
    _, same = run(graph, *args, in_place=True)
    assert all(same[n] is kv[n] for n in kv)
    assert all(np.array_equal(after[n], kv[n]) for n in kv)


@pytest.mark.parametrize(
    ("table", "name", "change", "message"),
    [
        ("inputs", "pos", lambda a: a[:-1], "pos says T is 3, others 4"),
        ("inputs", "starts", lambda a: a[:0], "starts says S is -1"),
        ("inputs", "ids", None, "ids is missing"),
        ("inputs", "table", lambda a: a[0], "table has 1 axes, not 2"),
        ("params", "l0.q", lambda a: a.T, r"l0.q has shape \(12, 32\), not \(32, 12\)"),
        ("params", "l0.q", None, "l0.q is missing"),
        ("params", "head", lambda a: a.astype(np.uint16), "head holds bf16 as uint16; widen"),
        ("state", "kv1", lambda a: a[:, :, :, :1], r"kv1 has 1 where K \(2\) is expected"),
        ("state", "kv1", None, "kv1 is missing"),
    ],
)
def test_wrong_arrays_are_named(table, name, change, message) -> None:
    graph = decoder(Spec())
    args = {"inputs": Pool(1).batch({0: 4}), "params": weights(graph, 1), "state": states(graph)}
    array = args[table].pop(name)
    if change is not None:
        args[table][name] = change(array)
    with pytest.raises(GraphError, match=f"graph random: {message}"):
        run(graph, **args)
