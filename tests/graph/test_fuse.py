"""fuse changes nothing that can be computed, and does not see how nodes are numbered."""

from __future__ import annotations

import random

import numpy as np
import pytest
from decoders import Pool, Spec, decoder, specs, states, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from treadle.errors import GraphError
from treadle.graph import (
    FUSED,
    PRIORITY,
    Builder,
    Graph,
    Value,
    dumps,
    fuse,
    reference,
    run,
    shard,
    verify,
)

subsets = st.sets(st.sampled_from(sorted(FUSED)))


@settings(max_examples=40)
@given(specs, st.one_of(subsets, st.just(set(FUSED))), st.integers(0, 99))
def test_fused_graph_computes_the_same_bits(spec: Spec, available: set[str], seed: int) -> None:
    graph = decoder(spec)
    fused = fuse(graph, available)
    args = (Pool(seed).batch({0: 5, 1: 3}), weights(graph, seed), states(graph))
    (whole, kv), (other, kv_other) = run(graph, *args), run(fused, *args)
    for name in graph.outputs:
        assert np.array_equal(whole[name], other[name])
    for name in graph.state:
        assert np.array_equal(kv[name], kv_other[name])
    assert {n.op for n in fused.nodes if n.op in FUSED} <= available


@settings(max_examples=30)
@given(specs, subsets, st.randoms(use_true_random=False))
def test_fusion_does_not_depend_on_numbering(
    spec: Spec, available: set[str], rng: random.Random
) -> None:
    graph = decoder(spec)
    assert dumps(fuse(shuffled(graph, rng), available)) == dumps(fuse(graph, available))


def shuffled(graph: Graph, rng: random.Random) -> Graph:
    """The same nodes in another topological order."""
    made = {*graph.inputs, *graph.params, *graph.state}
    rest, order = list(graph.nodes), []
    while rest:
        ready = [node for node in rest if made.issuperset(node.inputs)]
        node = rng.choice(ready)
        rest.remove(node)
        order.append(node)
        made.update(node.outputs)
    again = replace(graph, nodes=tuple(order))
    verify(again)
    return again


def count(graph: Graph, op: str) -> int:
    return sum(node.op == op for node in graph.nodes)


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_every_layer_of_a_plain_decoder_is_fused(qk_norm: bool, bias: bool) -> None:
    graph = fuse(decoder(Spec(qk_norm=qk_norm, bias=bias)), set(FUSED))
    assert count(graph, "qkv") == 2
    assert count(graph, "qk_norm_rope_kv") == 2
    assert count(graph, "gate_up_glu") == 2
    assert count(graph, "add_rmsnorm") == 3
    assert count(graph, "linear_add") == 1
    assert count(graph, "take_norm_linear") == 1
    assert not {"rope", "kv_write", "glu", "take"} & {node.op for node in graph.nodes}


def test_query_key_and_value_are_told_apart() -> None:
    graph = fuse(decoder(Spec(layers=1)), {"qkv"})
    (node,) = (node for node in graph.nodes if node.op == "qkv")
    assert node.inputs == ("l0.a.normed", "l0.q", "l0.k", "l0.v")
    assert node.outputs == ("l0.q.out", "l0.k.out", "l0.v.out")


def test_sharded_and_sparse_graphs_get_their_own_compositions() -> None:
    graph = fuse(shard(decoder(Spec(layers=1)), 2), set(FUSED))
    assert count(graph, "allreduce_add_rmsnorm") == 1
    assert count(fuse(decoder(Spec(experts=4)), set(FUSED)), "route_experts") == 2
    assert count(fuse(decoder(Spec(layers=1, post_norm=True)), {"rmsnorm_linear"}), "x") == 0


def test_a_value_with_another_reader_stays() -> None:
    b = Builder(name="two readers", dims={"D": 4, "V": 6})
    x = b.add("embed", b.param("embed", ("V", "D")), b.ids)
    n = b.add("rmsnorm", x, b.param("w", ("D",), dtype="f32"), eps=1e-6, name="n")
    y = b.add("linear", n, b.param("a", ("V", "D")), name="y")
    both = b.finish([y, n])
    assert count(fuse(both, {"rmsnorm_linear"}), "rmsnorm_linear") == 0
    z = b.finish([y])
    assert count(fuse(z, {"rmsnorm_linear"}), "rmsnorm_linear") == 1


def rows(name: str) -> tuple[Builder, list[Value]]:
    """A builder with four params [D], for graphs that no model would have."""
    b = Builder(name=name, dims={"D": 4})
    return b, [b.param(f"p{i}", ("D",)) for i in range(4)]


def test_a_replacement_never_waits_for_itself() -> None:
    b, p = rows("loop")
    total = b.add("add", p[0], p[1], name="total")
    unrelated = b.add("add", b.add("add", p[2], p[3]), p[0], name="unrelated")
    back = b.add("scale", total, by=2.0, name="back")  # leaves the pair and comes back as weight
    out = b.add("rmsnorm", total, back, eps=1e-6, name="out")
    graph = b.finish([out, b.add("add", out, unrelated)])
    assert count(fuse(graph, set(FUSED)), "add_rmsnorm") == 0


def test_of_two_matches_that_wait_for_each_other_the_first_is_kept() -> None:
    b, p = rows("crossed")
    first, second = b.add("add", *p[:2], name="first"), b.add("add", *p[2:], name="second")
    one = b.add("rmsnorm", first, b.add("scale", second, by=2.0), eps=1e-6, name="one")
    two = b.add("rmsnorm", second, b.add("scale", first, by=2.0), eps=1e-6, name="two")
    fused = fuse(b.finish([one, two]), {"add_rmsnorm"})
    assert [n.outputs for n in fused.nodes if n.op == "add_rmsnorm"] == [("first", "one")]


def test_unknown_composition_is_named() -> None:
    with pytest.raises(GraphError, match=r"no composition 'add_rms'.*add_rmsnorm"):
        fuse(decoder(Spec()), {"add_rms"})


def test_priority_lists_every_composition() -> None:
    assert sorted(PRIORITY) == sorted(FUSED)


def test_reference_of_a_composition_is_its_parts_in_order() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 3, 4)).astype("f")
    w = rng.standard_normal(4).astype("f")
    total, normed = reference("add_rmsnorm")(np, x, y, w, eps=1e-5)
    assert np.array_equal(total, reference("add")(np, x, y))
    assert np.array_equal(normed, reference("rmsnorm")(np, total, w, eps=1e-5))
