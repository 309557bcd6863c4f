"""Plans of whole models: equal to the reference, within the counts and rules that devices set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from executor import PlanExecutor
from gpu import device
from random_blocks import Entry, table_of, weights_of

from treadle.errors import ModelFormatError, Unsupported
from treadle.export.expr import evaluate
from treadle.export.lower import tier_gpu
from treadle.graph import Graph, run
from treadle.models import gemma3, llama, qwen2, qwen3, qwen3_moe
from treadle.models.quant import dequantise
from treadle.models.rope import Rope
from treadle.models.shape import Shape
from treadle.types import Batch

V = 515


def shape(**changes: Any) -> Shape:
    sizes: dict[str, Any] = {
        "layers": 2, "D": 64, "H": 4, "K": 2, "d": 16, "F": 96, "V": V, "eps": 1e-5,
        "context": 512, "tied": False,
    }  # fmt: skip
    return Shape(**(sizes | changes))


def graphs() -> dict[str, Graph]:
    rope = Rope(16, 100.0)
    return {
        "llama": llama.build(llama.Config(shape(tied=True), rope)),
        "qwen2": qwen2.build(qwen2.Config(shape(), rope, (0, 20))),
        "qwen3": qwen3.build(qwen3.Config(shape(d=32), Rope(32, 100.0), (0, 0))),
        "gemma3": gemma3.build(
            gemma3.Config(shape(tied=True), rope, Rope(16, 10.0), (18, 0), 0.3, 15.0)
        ),
    }


GRAPHS = graphs()
PLANS = (
    ("llama", "q4_1", "t0"), ("qwen3", "f16", "t0"), ("gemma3", "f32", "t0"),
    ("qwen3", "f16", "t1"), ("llama", "q4_1", "t1"), ("llama", "q4_0", "t2"),
    ("qwen2", "q4_1", "t2"), ("llama", "q4_0", "t0s"),
)  # fmt: skip
"""Family, what its matrices are stored as, and tier."""


class Sequences:
    """Ragged steps of growing sequences over pages in a random order."""

    def __init__(self, pool: int) -> None:
        self.rng = np.random.default_rng(4)
        self.free = [int(p) for p in self.rng.permutation(pool)]
        self.pages: dict[int, list[int]] = {}
        self.lens: dict[int, int] = {}

    def batch(self, grow: dict[int, int]) -> Batch:
        pos, slots, rows, starts = [], [], [], [0]
        for s, new in grow.items():
            for _ in range(new):
                at = self.lens.get(s, 0)
                if at % 16 == 0:
                    self.pages.setdefault(s, []).append(self.free.pop())
                pos.append(at)
                slots.append(self.pages[s][-1] * 16 + at % 16)
                self.lens[s] = at + 1
            starts.append(len(pos))
            rows.append(len(pos) - 1)
        table = np.zeros((len(grow), max(len(self.pages[s]) for s in grow)), np.int32)
        for i, s in enumerate(grow):
            table[i, : len(self.pages[s])] = self.pages[s]
        lens = [self.lens[s] for s in grow]
        ids = self.rng.integers(0, V, len(pos))
        arrays = [np.array(x, np.int32) for x in (ids, pos, slots, starts, lens)]
        return Batch(*arrays, table, np.array(rows, np.int32))


STEPS: list[dict[int, int]] = [
    {0: 1},
    {0: 13, 1: 3},
    {0: 1, 1: 1},
    {0: 1},
    {1: 30, 2: 1},
    {2: 1, 0: 1, 1: 1},
]


@pytest.mark.parametrize(("family", "format", "tier"), PLANS)
def test_plan_equals_reference(family: str, format: str, tier: str) -> None:
    if tier != "t0" and not {"shader-f16", "subgroup"} <= set(device().features):
        pytest.skip("the adapter has no f16 or no subgroups")
    graph = GRAPHS[family]
    weights = weights_of(graph, format)
    sizes = {"T": 32, "S": 4, "R": 4, "L": 4, "P": 12, "E": 8}
    plan = PlanExecutor(tier_gpu(tier, graph, table_of(weights)), weights, sizes)
    params = {name: dequantise(tensor) for name, tensor in weights.items()}
    state: dict[str, Any] = {
        name: np.full([n or sizes["P"] for n in graph.dims.sizes(v.shape)], np.nan, np.float16)
        for name, v in graph.state.items()
    }
    sequences = Sequences(sizes["P"])
    for grow in STEPS:
        batch = sequences.batch(grow)
        inputs = {name: getattr(batch, name) for name in graph.inputs}
        outs, state = run(graph, inputs, params, state, in_place=True)
        wanted = outs[graph.outputs[0]]
        got = plan.forward(batch)
        worst = np.abs(got - wanted).max() / np.abs(wanted).max()
        assert worst < (2e-3 if tier == "t0" else 1e-2), (grow, worst)
        assert tier != "t0" or (got.argmax(1) == wanted.argmax(1)).all()


def test_dispatches_and_bindings() -> None:
    for name, most in (("llama", 5), ("qwen2", 5), ("qwen3", 5), ("gemma3", 7)):
        graph = GRAPHS[name]
        tier = tier_gpu("t0", graph, table_of(weights_of(graph, "f32")))
        steps = tier.record["steps"]
        layers = len(graph.state)
        assert len(steps["decode"]) + len(steps["sample"]) <= most * layers + 4
        assert len(steps["prefill"]) <= (most + 1) * layers + 2
        for step in (step for part in steps.values() for step in part):
            kernel = tier.record["kernels"][step["kernel"]]
            assert len(step["bind"]) == len(kernel["bindings"]) <= 8
            assert not set(step["reads"]) & set(step["writes"])
            assert set(step["bind"]) <= set(tier.record["buffers"])
        assert len(tier.record["kernels"]) <= 30
        json.dumps(tier.record)
        again = tier_gpu("t0", graph, table_of(weights_of(graph, "f32")))
        assert (tier.record, tier.files) == (again.record, again.files)


def test_matrices_beyond_a_binding_are_cut() -> None:
    device()
    graph = GRAPHS["llama"]
    weights = weights_of(graph, "f32")
    sizes = {"T": 32, "S": 2, "R": 2, "L": 2, "P": 4, "E": 8}
    whole = PlanExecutor(tier_gpu("t0", graph, table_of(weights)), weights, sizes)
    tier = tier_gpu("t0", graph, table_of(weights), binding=40_000)
    held = [b for b in tier.record["buffers"].values() if "weights" in b]
    assert max(evaluate(b["size"], sizes) for b in held) <= 40_000 + 16
    cut = PlanExecutor(tier, weights, sizes)
    a, b = Sequences(4), Sequences(4)
    for grow in ({0: 1}, {0: 1}):
        np.testing.assert_array_equal(cut.forward(a.batch(grow)), whole.forward(b.batch(grow)))


def test_what_has_no_kernel_is_named() -> None:
    moe = qwen3_moe.Config(
        shape=shape(F=32), rope=Rope(16, 100.0), window=0, E=6, A=2, renorm=True,
        sparse=(True, True), dense_width=16,
    )  # fmt: skip
    graph = qwen3_moe.build(moe)
    entries = {
        name: Entry("f32", 1 if len(p.shape) == 1 else 8, 64) for name, p in graph.params.items()
    }
    with pytest.raises(Unsupported, match="route"):
        tier_gpu("t0", graph, entries)
    graph = GRAPHS["llama"]
    table = table_of(weights_of(graph, "f32")) | {"l0.o": Entry("q2_k", 64, 256)}
    with pytest.raises(Unsupported, match="q2_k"):
        tier_gpu("t0", graph, table)
    with pytest.raises(ModelFormatError, match="embed"):
        tier_gpu("t0", graph, {})


def test_expressions_of_the_shared_cases() -> None:
    path = Path(__file__).parents[2] / "web" / "test" / "expressions.json"
    cases = json.loads(path.read_text())
    assert len(cases["values"]) > 10
    for text, wanted in cases["values"]:
        assert evaluate(text, cases["sizes"]) == wanted, text
    for text in cases["refused"]:
        with pytest.raises(ModelFormatError):
            evaluate(text, cases["sizes"])
