"""Every family at tiny size, its random weights, and ragged steps of a few sequences."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from msgspec.structs import replace

from treadle.graph import Graph, Node, cuts, run, run_ranks, shard
from treadle.graph.dims import Dims
from treadle.mega import grouped
from treadle.models import gemma2, gemma3, llama, mistral, qwen2, qwen3, qwen3_moe
from treadle.models.rope import Rope
from treadle.models.shape import Shape
from treadle.types import Batch

PAGE, POOL, CONTEXT, SEGMENT, SLOTS = 4, 40, 48, 8, 8


def _shape(**changes: Any) -> Shape:
    sizes: dict[str, Any] = {
        "layers": 2, "D": 32, "H": 8, "K": 2, "d": 8, "F": 48, "V": 96, "eps": 1e-5,
        "context": CONTEXT, "tied": False,
    }  # fmt: skip
    return Shape(**(sizes | changes))


def _rope(d: int = 8) -> Rope:
    return Rope(d, 100.0)


def _moe(**changes: Any) -> qwen3_moe.Config:
    fields: dict[str, Any] = {
        "shape": _shape(F=16), "rope": _rope(), "window": 0, "E": 6, "A": 2, "renorm": True,
        "sparse": (True, True), "dense_width": 16,
    }  # fmt: skip
    return qwen3_moe.Config(**(fields | changes))


FAMILIES: dict[str, Graph] = {
    "llama": llama.build(llama.Config(_shape(layers=3), _rope()), page=PAGE),
    "llama-tied": llama.build(llama.Config(_shape(tied=True, D=40, F=56), _rope()), page=PAGE),
    "mistral-window": mistral.build(mistral.Config(_shape(), _rope(), 5), page=PAGE),
    "qwen2": qwen2.build(qwen2.Config(_shape(), _rope(), (0, 7)), page=PAGE),
    "qwen3": qwen3.build(qwen3.Config(_shape(d=16), _rope(16), (0, 0)), page=PAGE),
    "qwen3-moe": qwen3_moe.build(_moe(), page=PAGE),
    "qwen3-moe-mixed": qwen3_moe.build(
        _moe(shape=_shape(F=16, layers=3), window=6, renorm=False, sparse=(True, False, True),
             dense_width=24), page=PAGE),
    "gemma2": gemma2.build(
        gemma2.Config(_shape(tied=True, layers=4), _rope(), (5, 0, 5, 0), 0.3, 20.0, 15.0),
        page=PAGE),
    "gemma3": gemma3.build(
        gemma3.Config(_shape(tied=True, layers=3), _rope(), Rope(8, 10.0), (5, 5, 0), 0.3, 0.0),
        page=PAGE),
}  # fmt: skip


def without(graph: Graph, outputs: str) -> Graph:
    """The graph less the nodes whose output ends so, their first input passed on."""
    gone = {n.outputs[0]: n.inputs[0] for n in graph.nodes if n.outputs[0].endswith(outputs)}
    kept = [node for node in graph.nodes if node.outputs[0] not in gone]
    nodes = tuple(
        replace(node, inputs=tuple(gone.get(name, name) for name in node.inputs)) for node in kept
    )
    read = {name for node in nodes for name in node.inputs}
    params = {name: param for name, param in graph.params.items() if name in read}
    return replace(graph, nodes=nodes, params=params)


FAMILIES["unrotated"] = without(FAMILIES["llama"], "_rope")
FAMILIES["key-normed"] = without(FAMILIES["qwen3"], "q_norm.y")


def joined(graph: Graph) -> Graph:
    """The graph with gate and up of a layer as one matrix, whose product is split."""
    nodes, params = list(graph.nodes), dict(graph.params)
    dims = {**graph.dims, "F2": 2 * graph.size("F")}
    for i, node in enumerate(nodes):
        if node.op != "linear" or not node.inputs[1].endswith(".gate"):
            continue
        name = node.inputs[1] + "_up"
        params[name] = replace(params.pop(node.inputs[1]), name=name, shape=("F2", "D"))
        up = nodes[i + 1]
        del params[up.inputs[1]]
        nodes[i] = Node("linear", (node.inputs[0], name), (name + ".y",))
        nodes[i + 1] = Node(
            "split", (name + ".y",), (*node.outputs, *up.outputs), {"sizes": ("F", "F")}
        )
    return replace(graph, dims=Dims(dims), nodes=tuple(nodes), params=params)


def deep_llama(layers: int) -> Graph:
    """A llama of many layers."""
    return llama.build(llama.Config(_shape(layers=layers), _rope()), page=PAGE)


def weights(graph: Graph, seed: int = 3) -> dict[str, Any]:
    """Random params, of a size that keeps activations moderate."""
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    for name, param in graph.params.items():
        shape = graph.dims.sizes(param.shape)
        scale = 0.3 if len(shape) == 1 else 1.5 * shape[-1] ** -0.5
        found[name] = rng.standard_normal(shape) * scale + ("norm" in name)
        if name.startswith("inv_freq"):
            found[name] = 10.0 ** -np.linspace(0, 2, shape[0])
    return found


def states(graph: Graph) -> dict[str, Any]:
    """KV pools full of NaN: a position that was not written must not be read."""
    return {
        name: np.full([POOL if n is None else n for n in graph.dims.sizes(v.shape)], np.nan)
        for name, v in graph.state.items()
    }


@dataclass
class Sequences:
    """Hands out pages in an order of its own and makes batches of growing sequences."""

    seed: int = 1
    pages: dict[int, list[int]] = field(default_factory=dict)
    lens: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.free = [int(p) for p in self.rng.permutation(POOL)]

    def batch(self, grow: dict[int, int], wanted: str = "last") -> Batch:
        """The next grow[s] tokens of each sequence; logits wanted of "last", "all" or "none"."""
        ids, pos, slots, rows, lens, starts = [], [], [], [], [], [0]
        for s, new in grow.items():
            for j in range(new):
                at = self.lens.get(s, 0)
                pages = self.pages.setdefault(s, [])
                if at % PAGE == 0:
                    pages.append(self.free.pop())
                ids.append(int(self.rng.integers(0, 96)))
                pos.append(at)
                slots.append(pages[-1] * PAGE + at % PAGE)
                if wanted == "all" or (wanted == "last" and j == new - 1):
                    rows.append(len(ids) - 1)
                self.lens[s] = at + 1
            starts.append(len(ids))
            lens.append(self.lens.get(s, 0))
        widest = max(len(self.pages.get(s, [])) for s in grow)
        table = np.zeros((len(grow), widest), np.int32)
        for row, s in enumerate(grow):
            table[row, : len(self.pages.get(s, []))] = self.pages.get(s, [])
        i32 = [np.array(x, np.int32) for x in (ids, pos, slots, starts, lens)]
        return Batch(*i32, table, np.array(rows, np.int32))


@dataclass
class Case:
    """A graph cut over ranks, with weights and KV a rank, and what the reference says."""

    graph: Graph
    ranks: int = 1
    params: list[dict[str, Any]] = field(init=False)
    ready: Graph = field(init=False)
    fused: Graph = field(init=False)

    def __post_init__(self) -> None:
        whole = weights(self.graph)
        self.ready = shard(self.graph, self.ranks) if self.ranks > 1 else self.graph
        self.fused = grouped(self.ready)
        if self.ranks == 1:
            self.params = [whole]
        else:
            self.params = [self._cut(rank, whole) for rank in range(self.ranks)]

    def _cut(self, rank: int, arrays: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, part in cuts(self.graph, self.ranks, rank).items():
            if part.source in arrays:
                array = arrays[part.source]
                for axis, index in enumerate(part.index):
                    array = array if index is None else np.take(array, index, axis=axis)
                found[name] = np.zeros_like(array) if part.zero else array
        return found

    @staticmethod
    @cache
    def of(family: str, ranks: int) -> Case:
        """The case of a family, made once."""
        return Case(FAMILIES[family], ranks)

    def states(self) -> list[dict[str, Any]]:
        return [states(self.ready) for _ in range(self.ranks)]

    def expected(self, batches: list[Batch]) -> tuple[list[Any], list[dict[str, Any]]]:
        """Logits of each step by the reference, and the KV after the last."""
        kv, logits = self.states(), []
        for batch in batches:
            inputs = {n: getattr(batch, n) for n in Batch.__struct_fields__}
            if self.ranks == 1:
                out, held = run(self.ready, inputs, self.params[0], kv[0])
                outs, kv = [out], [held]
            else:
                outs, kv = run_ranks(self.ready, inputs, self.params, kv)
            logits.append(np.concatenate([o[self.ready.outputs[0]] for o in outs], axis=-1))
        return logits, kv
