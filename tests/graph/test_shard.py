"""A graph cut over ranks computes what the whole one does."""

from __future__ import annotations

import numpy as np
import pytest
from decoders import Pool, Spec, decoder, specs, states, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from treadle.errors import GraphError
from treadle.graph import FUSED, Builder, Dims, cuts, fuse, run, run_ranks, shard


def cut(parts, arrays):
    """A rank's part of params or states, as `cuts` says."""
    found = {}
    for name, part in parts.items():
        if part.source in arrays:
            array = arrays[part.source]
            for axis, index in enumerate(part.index):
                array = array if index is None else np.take(array, index, axis=axis)
            found[name] = np.zeros_like(array) if part.zero else array
    return found


@settings(max_examples=35)
@given(specs, st.sampled_from([1, 2, 4]), st.booleans(), st.integers(0, 99))
def test_ranks_together_equal_the_whole(spec: Spec, n: int, fused: bool, seed: int) -> None:
    graph = decoder(spec)
    inputs, params, kv = Pool(seed).batch({0: 5, 1: 3}), weights(graph, seed), states(graph)
    whole, whole_kv = run(graph, inputs, params, kv)
    sharded = shard(graph, n)
    ready = fuse(sharded, set(FUSED)) if fused else sharded
    parts = [cuts(graph, n, rank) for rank in range(n)]
    outs, kvs = run_ranks(
        ready,
        inputs,
        [cut(part, params) for part in parts],
        [cut(part, kv) for part in parts],
    )
    for name in graph.outputs:  # logits stay divided by vocabulary
        joined = np.concatenate([out[name] for out in outs], axis=-1)
        np.testing.assert_allclose(joined, whole[name], rtol=1e-12, atol=1e-12)
    for rank in range(n):
        for name, part in cut(parts[rank], whole_kv).items():
            np.testing.assert_allclose(kvs[rank][name], part, rtol=1e-12, atol=1e-12)


def test_names_stay_and_sizes_shrink() -> None:
    graph = decoder(Spec(K=2))
    sharded = shard(graph, 4)
    assert sharded.divided == {"H": 4, "K": 2, "F": 4, "V": 4}
    assert [sharded.size(n) for n in ("H", "K", "F", "V", "Hd", "Kd")] == [1, 1, 2, 5, 8, 8]
    assert sharded.params["l0.q"].shape == graph.params["l0.q"].shape
    assert sum(node.op == "allreduce" for node in sharded.nodes) == 4


def test_ranks_that_share_a_kv_head_hold_the_same_one() -> None:
    graph = decoder(Spec(K=2))
    kept = [cuts(graph, 4, rank)["l0.k"].index[0] for rank in range(4)]
    assert [index[0] // 8 for index in kept] == [0, 0, 1, 1]
    assert [cuts(graph, 4, rank)["l0.q"].index[0][0] // 8 for rank in range(4)] == [0, 1, 2, 3]


def test_a_joined_weight_is_cut_inside_each_half() -> None:
    index = cuts(decoder(Spec(joined=True)), 2, 1)["l0.gate_up"].index[0]
    assert index.tolist() == [4, 5, 6, 7, 12, 13, 14, 15]


def test_a_tied_table_is_whole_for_the_lookup_and_cut_for_the_head() -> None:
    found = cuts(decoder(Spec(tied=True)), 2, 1)
    assert found["embed"].index == (None, None)
    assert found["embed.cut"].source == "embed"
    assert found["embed.cut"].index[0].tolist() == list(range(10, 20))


def test_bias_of_a_partial_sum_is_added_once() -> None:
    graph = decoder(Spec(out_bias=True, bias=True))
    zero = [{n for n, part in cuts(graph, 2, r).items() if part.zero} for r in range(2)]
    assert zero[0] == set()
    assert zero[1] == {"l0.o.bias", "l0.down.bias", "l1.o.bias", "l1.down.bias"}


def test_a_sum_of_partial_sums_is_reduced_once() -> None:
    b = Builder(name="twins", dims={"D": 4, "F": 8, "V": 6})
    x = b.add("embed", b.param("embed", ("V", "D")), b.ids)
    ups = [b.add("linear", x, b.param(f"up{i}", ("F", "D"))) for i in range(2)]
    downs = [b.add("linear", u, b.param(f"down{i}", ("D", "F"))) for i, u in enumerate(ups)]
    y = b.add("scale", b.add("add", *downs), by=0.5, name="y")
    z = b.add("rmsnorm", y, b.param("w", ("D",), dtype="f32"), eps=1e-5)
    sharded = shard(b.finish([z]), 2)
    assert [n.outputs for n in sharded.nodes if n.op == "allreduce"] == [("y",)]


@pytest.mark.parametrize(("n", "name"), [(3, "H"), (8, "H")])
def test_a_dim_that_does_not_divide_is_named(n: int, name: str) -> None:
    with pytest.raises(GraphError, match=rf"graph random: {name} \(4\) does not divide by {n}"):
        shard(decoder(Spec(K=2)), n)


def test_an_axis_that_cannot_be_cut_is_named() -> None:
    with pytest.raises(GraphError, match=r"shard: rmsnorm cannot be cut along D .*reduce"):
        shard(decoder(Spec()), 2, over=("D",))
    graph = decoder(Spec(experts=4))
    even = replace(graph, dims=Dims({**graph.dims, "E": 4}))
    with pytest.raises(GraphError, match=r"shard: route cannot be cut along E"):
        shard(even, 2, over=("E",))
