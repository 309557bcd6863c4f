"""Every family, bucket and number of ranks: the plan's lists give what the reference gives."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
from msgspec.structs import replace
from tiny_models import CONTEXT, FAMILIES, SEGMENT, SLOTS, Case, Sequences, joined, without

from treadle.errors import Unsupported
from treadle.graph import Graph
from treadle.mega import CPU, H200, Plan, Target, compile, grouped, interp
from treadle.mega.orders import ORDERS
from treadle.mega.parted import parted

ALL = bool(os.environ.get("TREADLE_MEGA_ALL"))
"""Set: the whole product of families, ranks, buckets and targets; else each family and number of
ranks with one bucket a target, alternating targets for four and eight ranks."""

SCHEDULES = int(os.environ.get("TREADLE_MEGA_SCHEDULES", "1000"))

STEPS = {
    1: [{0: 1}, {0: 1}],
    2: [{0: 2}, {0: 1, 1: 1}],
    4: [{0: 3, 1: 1}, {1: 1, 0: 2, 2: 1}],
    8: [{0: 8}, {0: 4, 1: 1, 2: 3}],
    16: [{0: 9, 1: 5, 2: 1}, {0: 1, 1: 1, 2: 12}],
    32: [{0: 20, 1: 11}, {0: 3, 1: 1, 2: 25}],
}
"""Bucket -> tokens of each sequence in two steps: ragged, a prompt, verify rows, a chunk."""


def small(target: Target, workers: int) -> Target:
    """A target for tiny models: few workers, tiles of k small enough to be cut."""
    return dataclasses.replace(target, workers=workers, tile_k=8)


def plan_of(graph: Graph, target: Target, rows: int) -> Plan:
    return compile(graph, target, rows=rows, slots=SLOTS, context=CONTEXT, segment=SEGMENT)


def cases():
    for i, family in enumerate(FAMILIES):
        for j, ranks in enumerate((1, 2, 4, 8)):
            for k, rows in enumerate(STEPS):
                for target in (CPU, H200):
                    shift = target is H200
                    once = (i + j + 3 * shift) % len(STEPS) == k
                    if ALL or (once and (ranks < 4 or shift == (i + j) % 2)):
                        yield pytest.param(
                            family, ranks, rows, target, id=f"{family}-{ranks}-{rows}-{target.name}"
                        )


@pytest.mark.parametrize(("family", "ranks", "rows", "target"), list(cases()))
def test_plan_equals_reference(family: str, ranks: int, rows: int, target: Target) -> None:
    case, sequences = Case.of(family, ranks), Sequences()
    plan = plan_of(
        case.fused, small(target, {1: 4, 2: 3, 4: 2, 8: 2 if rows < 8 else 1}[ranks]), rows
    )
    batches = [sequences.batch(grow, "all" if rows == 4 else "last") for grow in STEPS[rows]]
    order = list(ORDERS.values())[(rows + ranks) % len(ORDERS)]
    same(case, plan, batches, order(rows))


def same(case: Case, plan: Plan, batches, order, plans=None) -> None:
    """Logits, tokens and every byte of the KV equal the reference's."""
    wanted, kv = case.expected(batches)
    states = case.states()
    found = interp.run(plans or [plan] * case.ranks, batches, case.params, states, order)
    assert len(found) == len(wanted)
    for one, logits in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.logits, logits, rtol=1e-9, atol=1e-10)
        np.testing.assert_array_equal(one.tokens, logits.argmax(-1))
    for mine, theirs in zip(states, kv, strict=True):
        for name in theirs:
            np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-9, atol=1e-10)


SCHEDULED = {
    "cpu": ("qwen2", 1, small(CPU, 3), 2),
    "grouped": ("llama", 1, small(H200, 4), 2),
    "prefill": ("gemma2", 1, small(CPU, 2), 32),
    "ranks": ("llama", 2, small(CPU, 2), 1),
    "moe": ("qwen3-moe", 1, small(H200, 2), 2),
}


@pytest.mark.parametrize("name", SCHEDULED)
def test_every_schedule_gives_the_same_bits(name: str) -> None:
    """Random, starving, late and ranked orders: equal to the first, which equals the reference."""
    family, ranks, target, rows = SCHEDULED[name]
    case, sequences = Case(one_layer(FAMILIES[family]), ranks), Sequences()
    plan = plan_of(case.fused, target, rows)
    grows = [{0: 1}, {0: 1}] if rows == 1 else [{0: 2}, {0: 1, 1: 1}]
    batches = [sequences.batch(grow) for grow in grows]
    same(case, plan, batches, ORDERS["shuffled"](0))
    first = None
    for seed in range(-(-SCHEDULES // len(SCHEDULED))):
        order = list(ORDERS.values())[seed % len(ORDERS)](seed)
        found = interp.run([plan] * ranks, batches, case.params, case.states(), order)
        bits = [one.logits.tobytes() for one in found]
        first = first or bits
        assert bits == first, f"seed {seed}"


def one_layer(graph: Graph) -> Graph:
    """The first layer of a model with its head: what reads the last layer reads layer 0."""
    last = max(int(name[1:].split(".")[0]) for name in graph.params if name[1:2].isdigit())
    ends = [f"l{i}.x_ffn" for i in (0, last)]
    keep = [
        node
        for node in graph.nodes
        if not any(
            out.startswith((f"l{i}.", f"kv{i}."))
            for out in node.outputs
            for i in range(1, last + 1)
        )
    ]
    nodes = tuple(
        replace(node, inputs=tuple(ends[0] if name == ends[1] else name for name in node.inputs))
        for node in keep
    )
    params = {n: p for n, p in graph.params.items() if not n[1:2].isdigit() or n.startswith("l0.")}
    state = {"kv0": graph.state["kv0"]}
    return replace(graph, nodes=nodes, params=params, state=state)


@pytest.mark.parametrize("rows", [2, 32])
def test_a_matrix_that_is_split_is_cut_into_its_parts(rows: int) -> None:
    """One matrix for gate and up: its parts are fused and packed like two of their own."""
    case, sequences = Case(joined(FAMILIES["llama"])), Sequences()
    graph, cut = parted(case.graph)
    assert "gate_up_glu" in {node.op for node in grouped(graph).nodes}
    batches = [sequences.batch(grow) for grow in STEPS[rows]]
    wanted, _ = case.expected(batches)
    params = case.params[0] | {
        name: case.params[0][whole][first:end] for name, (whole, first, end) in cut.items()
    }
    plan = plan_of(graph, small(CPU, 3), rows)
    found = interp.run([plan], batches, [params], case.states(), ORDERS["shuffled"](rows))
    for one, logits in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.logits, logits, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("change", ["k_rope", "head", "pos"])
def test_a_prologue_that_no_phase_has_is_refused_by_name(change: str) -> None:
    """q turned and k not, a head norm behind the rope, turned by other than the batch's places."""
    graph = FAMILIES["qwen3"]
    if change == "k_rope":
        graph = without(graph, "k_rope")
    else:
        at = next(i for i, node in enumerate(graph.nodes) if node.outputs == ("l0.q_rope",))
        norm, rope = graph.nodes[at - 1 : at + 1]
        if change == "head":
            swapped = (
                replace(rope, inputs=(norm.inputs[0], *rope.inputs[1:]), outputs=norm.outputs),
                replace(norm, inputs=(norm.outputs[0], norm.inputs[1]), outputs=rope.outputs),
            )
        else:
            swapped = norm, replace(rope, inputs=(rope.inputs[0], "slots", rope.inputs[2]))
        graph = replace(graph, nodes=(*graph.nodes[: at - 1], *swapped, *graph.nodes[at + 1 :]))
    with pytest.raises(Unsupported, match=r"graph qwen3, node \d+"):
        plan_of(graph, small(CPU, 2), 2)


def test_a_prompt_in_chunks_through_several_buckets_equals_the_whole() -> None:
    """Prefill, verify and decode plans share one KV: a prompt of 32, then 4, then 1 by 1."""
    case, sequences = Case.of("gemma3", 1), Sequences()
    target, states = small(CPU, 3), case.states()
    grows = [(32, {0: 21}), (4, {0: 4}), (1, {0: 1}), (1, {0: 1}), (16, {0: 9, 1: 3})]
    batches = [sequences.batch(grow) for _, grow in grows]
    wanted, _ = case.expected(batches)
    for (rows, _), batch, logits in zip(grows, batches, wanted, strict=True):
        plan = plan_of(case.fused, target, rows)
        (found,) = interp.run([plan], [batch], case.params, states, ORDERS["late_stores"](rows))
        np.testing.assert_allclose(found.logits, logits, rtol=1e-9, atol=1e-10)


def test_float32_and_ids_that_name_the_last_sample() -> None:
    """An id of -1-j is row j of the sample before, read from the arena; float32 stays close."""
    case, sequences = Case.of("llama", 1), Sequences()
    plan = plan_of(case.ready, small(CPU, 2), 2)
    batches = [sequences.batch({0: 1, 1: 1}), sequences.batch({1: 1, 0: 1})]
    wanted, _ = case.expected(batches[:1])
    drawn = wanted[0].argmax(-1)
    named = replace(batches[1], ids=np.array([-2, -1], np.int32))
    told = replace(batches[1], ids=drawn[[1, 0]].astype(np.int32))
    params = [{k: v.astype(np.float32) for k, v in p.items()} for p in case.params]
    order = ORDERS["shuffled"](5)
    found = interp.run([plan], [batches[0], named], params, case.states(), order, dtype=np.float32)
    wanted, _ = case.expected([batches[0], told])
    for one, logits in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.logits, logits, rtol=2e-4, atol=2e-4)
