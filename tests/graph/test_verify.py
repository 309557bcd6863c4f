"""Every rule of the verifier catches the mutation it exists for, and says all that is needed."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from decoders import Spec, decoder
from msgspec.structs import replace

from treadle.errors import GraphError
from treadle.graph import FUSED, Builder, Dims, Graph, Node, Param, Value, fuse, shard, verify
from treadle.graph.fusion import part
from treadle.graph.rules import RULES

SPEC = Spec(layers=2, K=2, qk_norm=True)


def at(graph: Graph, output: str) -> int:
    return graph.producers[output]


def edit(graph: Graph, output: str, **changes: object) -> Graph:
    """The graph with the node that makes `output` changed; attrs are merged."""
    nodes = list(graph.nodes)
    index = at(graph, output)
    if "attrs" in changes:
        changes["attrs"] = {**nodes[index].attrs, **changes["attrs"]}  # type: ignore[dict-item]
    nodes[index] = replace(nodes[index], **changes)
    return replace(graph, nodes=tuple(nodes))


def swap(graph: Graph, one: str, other: str) -> Graph:
    nodes = list(graph.nodes)
    i, j = at(graph, one), at(graph, other)
    nodes[i], nodes[j] = nodes[j], nodes[i]
    return replace(graph, nodes=tuple(nodes))


def drop(graph: Graph, output: str) -> Graph:
    index = at(graph, output)
    return replace(graph, nodes=graph.nodes[:index] + graph.nodes[index + 1 :])


def insert(graph: Graph, after: str, node: Node) -> Graph:
    index = at(graph, after) + 1
    return replace(graph, nodes=(*graph.nodes[:index], node, *graph.nodes[index:]))


def bypass(graph: Graph, output: str) -> Graph:
    """Readers of a one-operand node read its operand instead; the node goes."""
    source = graph.nodes[at(graph, output)].inputs[0]
    nodes = [
        replace(n, inputs=tuple(source if x == output else x for x in n.inputs))
        for n in drop(graph, output).nodes
    ]
    return replace(graph, nodes=tuple(nodes))


def table(graph: Graph, field: str, value: Value) -> Graph:
    return replace(graph, **{field: {**getattr(graph, field), value.name: value}})


def model() -> Graph:
    return decoder(SPEC)


def sharded() -> Graph:
    return shard(decoder(SPEC), 2)


def typed() -> Graph:
    return replace(decoder(SPEC), stage="typed")


def fused() -> Graph:
    return fuse(decoder(SPEC), set(FUSED))


def formats(name: str, fmt: str) -> Callable[[Graph], Graph]:
    return lambda g: g.with_formats({name: fmt})


def swap_inputs(graph: Graph, output: str, other: str) -> Graph:
    """The second operand replaced by a value of another shape."""
    first = graph.nodes[at(graph, output)].inputs[0]
    return edit(graph, output, inputs=(first, other))


def second_write(graph: Graph) -> Graph:
    """Two writers alias one buffer."""
    node = graph.nodes[at(graph, "kv_write.1")]
    return edit(graph, "kv_write.1", inputs=("kv0", *node.inputs[1:]))


def late_read(graph: Graph) -> Graph:
    """An attention reads a version after the next write of the same buffer."""
    write = graph.nodes[at(graph, "kv_write.0")]
    read = graph.nodes[at(graph, "l0.o.heads")]
    again = replace(write, inputs=("kv_write.0", *write.inputs[1:]), outputs=("kv_next",))
    graph = insert(graph, "l0.o.heads", again)
    return insert(graph, "kv_next", replace(read, outputs=("late",)))


def stale(graph: Graph) -> Graph:
    """An attention in front of the write reads version 0."""
    node = graph.nodes[at(graph, "l0.o.heads")]
    graph = edit(graph, "l0.o.heads", inputs=(node.inputs[0], "kv0", *node.inputs[2:]))
    return reorder(graph)


def reorder(graph: Graph) -> Graph:
    """The write after the attention, so that only the version is wrong."""
    nodes = list(graph.nodes)
    write = nodes.pop(at(graph, "kv_write.0"))
    nodes.insert(next(i for i, n in enumerate(nodes) if "l0.o.heads" in n.outputs) + 1, write)
    return replace(graph, nodes=tuple(nodes))


def state_as_param(graph: Graph) -> Graph:
    """A KV that nothing keeps between steps."""
    state = {name: value for name, value in graph.state.items() if name != "kv0"}
    params = {**graph.params, "kv0": Param("kv0", "f32", (6, 2, "B", "K", "d"))}
    return replace(graph, state=state, params=params)


def twice(graph: Graph) -> Graph:
    node = graph.nodes[at(graph, "l0.o.out")]
    graph = insert(graph, "l0.o.out", replace(node, inputs=("l0.o.out",), outputs=("again",)))
    add = graph.nodes[at(graph, "l0.a.sum")]
    return edit(graph, "l0.a.sum", inputs=(add.inputs[0], "again"))


def unsum(graph: Graph) -> Graph:
    """An allreduce_add_rmsnorm becomes an add_rmsnorm: the sum over ranks is lost."""
    index = next(i for i, n in enumerate(graph.nodes) if n.op == "allreduce_add_rmsnorm")
    node = replace(graph.nodes[index], op="add_rmsnorm")
    attrs = {name: value for name, value in node.attrs.items() if name != "group"}
    nodes = (*graph.nodes[:index], replace(node, attrs=attrs), *graph.nodes[index + 1 :])
    return replace(graph, nodes=nodes)


def inner_name(graph: Graph) -> Graph:
    """A value of the graph has the name that an inner value of a fusion gets."""
    name = "logits/taken"
    nodes = [
        replace(
            n,
            inputs=tuple(name if x == "x" else x for x in n.inputs),
            outputs=tuple(name if x == "x" else x for x in n.outputs),
        )
        for n in graph.nodes
    ]
    return replace(graph, nodes=tuple(nodes))


def lost_output(graph: Graph) -> Graph:
    """A composition that promises a value no part makes."""
    return edit(graph, "l0.y", op="broken_glu", outputs=("l0.y", "lost"))


# (rule, graph, mutation, node or None, value, words of message or remedy)
MUTATIONS = [
    ("G01", model, lambda g: edit(g, "x", op="embedd"), "x", "x", "no op"),
    (
        "G02",
        model,
        lambda g: edit(g, "l0.k.out", outputs=("l0.q.out",)),
        None,
        "l0.q.out",
        "second",
    ),
    ("G02", model, lambda g: table(g, "state", Value("ids", "i32", ("T",))), None, "ids", "twice"),
    ("G03", model, lambda g: swap(g, "l0.q.out", "l0.q.heads"), None, "l0.q.out", "move its maker"),
    ("G03", model, lambda g: drop(g, "kv_write.0"), "l0.o.heads", "kv_write.0", "made by nothing"),
    ("G03", model, lambda g: edit(g, "x", inputs=("embed", "idz")), "x", "idz", "correct the name"),
    (
        "G04",
        model,
        lambda g: table(g, "params", Param("head", "f32", ("W", "D"))),
        None,
        "head",
        "W",
    ),
    (
        "G04",
        model,
        lambda g: table(g, "params", Param("head", "f32", ("T",))),
        None,
        "head",
        "run-time",
    ),
    ("G04", sharded, lambda g: replace(g, divided={**g.divided, "T": 2}), None, "T", "no constant"),
    (
        "G05",
        model,
        lambda g: edit(g, "l0.q.out", inputs=("l0.a.normed", "l0.o")),
        "l0.q.out",
        None,
        "axis I",
    ),
    ("G05", model, lambda g: swap_inputs(g, "l0.y", "l0.f.normed"), "l0.y", None, "axis F"),
    (
        "G05",
        model,
        lambda g: edit(g, "l0.q.out", outputs=("l0.q.out", "more")),
        "l0.q.out",
        None,
        "2 are named",
    ),
    (
        "G06",
        model,
        lambda g: edit(g, "l0.a.normed", attrs={"eps": 1}),
        "l0.a.normed",
        "l0.a.normed",
        "normal form",
    ),
    (
        "G06",
        model,
        lambda g: edit(g, "l0.a.normed", attrs={"epsilon": 1.0}),
        "l0.a.normed",
        None,
        "no attr 'epsilon'",
    ),
    (
        "G06",
        model,
        lambda g: edit(g, "l0.y", attrs={"act": "relu"}),
        "l0.y",
        None,
        "one of silu gelu_tanh",
    ),
    ("G07", model, second_write, "kv_write.1", "kv0", "overwritten in place"),
    ("G07", model, late_read, "late", "kv_write.0", "newest version"),
    (
        "G08",
        model,
        lambda g: insert(g, "kv_write.0", Node("scale", ("kv_write.0",), ("peek",), {"by": 1.0})),
        "peek",
        "kv_write.0",
        "operand x of scale",
    ),
    (
        "G08",
        model,
        lambda g: replace(g, outputs=(*g.outputs, "kv_write.0")),
        None,
        "kv_write.0",
        "an output",
    ),
    ("G08", model, state_as_param, "kv_write.0", "kv0", "not KV"),
    ("G09", model, stale, "l0.o.heads", "kv0", "version 0"),
    (
        "G10",
        model,
        lambda g: table(g, "inputs", Value("mask", "i32", ("T",))),
        None,
        "mask",
        "no Batch carries",
    ),
    (
        "G10",
        model,
        lambda g: table(g, "inputs", Value("lens", "i32", ("S+1",))),
        None,
        "lens",
        "S+1",
    ),
    (
        "G11",
        model,
        lambda g: insert(g, "x", Node("scale", ("x",), ("idle",), {"by": 2.0})),
        "idle",
        "idle",
        "read by nothing",
    ),
    (
        "G11",
        model,
        lambda g: table(g, "params", Param("spare", "f32", ("D",))),
        None,
        "spare",
        "read by nothing",
    ),
    ("G12", model, lambda g: replace(g, outputs=()), None, "none", "at least one"),
    (
        "G12",
        model,
        lambda g: replace(g, outputs=("logits", "logits")),
        None,
        "logits, logits",
        "each once",
    ),
    ("G12", model, lambda g: replace(g, outputs=("logits", "ids")), None, "ids", "no node makes"),
    (
        "G20",
        sharded,
        lambda g: replace(g, stage="model"),
        "l0.o.out",
        "l0.o.out.part",
        "leave it to shard",
    ),
    ("G21", fused, lambda g: replace(g, stage="typed"), None, None, "fuse comes last"),
    (
        "G30",
        sharded,
        lambda g: bypass(g, "l0.o.out"),
        "l0.a.sum",
        "l0.o.out.part",
        "put an allreduce",
    ),
    ("G30", sharded, lambda g: replace(g, divided={}), "l0.o.out", "l0.o.out.part", "multiply"),
    ("G30", sharded, twice, "again", "l0.o.out", "multiply"),
    (
        "G30",
        sharded,
        lambda g: replace(g, divided={**g.divided, "D": 2}),
        None,
        None,
        "cannot be cut along",
    ),
    ("G30", lambda: fuse(sharded(), set(FUSED)), unsum, None, "l0.o.out.part", "meets add"),
    ("G40", typed, formats("l0.a.norm", "q8_0"), "l0.a.normed", "l0.a.norm", "plain format"),
    (
        "G40",
        typed,
        formats("l0.q", "q4_1"),
        "l0.q.out",
        "l0.q",
        "rows of 12, q4_1 comes in blocks of 32",
    ),
    ("G50", fused, inner_name, None, None, "inner value"),
    ("G50", fused, lost_output, None, "lost", "made by no part"),
]


@pytest.fixture(autouse=True)
def broken_composition(monkeypatch: pytest.MonkeyPatch) -> None:
    glu = FUSED["gate_up_glu"]
    kept = replace(
        glu, name="broken_glu", out_names=("y", "lost"), parts=(*glu.parts, part("add", "y y", "z"))
    )
    monkeypatch.setitem(FUSED, "broken_glu", kept)
    infer = type(glu).infer

    def twice(self, kinds, attrs, dims, at=""):  # the rule, not the inference, is under test
        if self.name != "broken_glu":
            return infer(self, kinds, attrs, dims, at)
        return infer(glu, kinds, attrs, dims, at) * 2

    monkeypatch.setattr(type(glu), "infer", twice)


@pytest.mark.parametrize(
    ("rule", "make", "mutate", "node", "value", "words"),
    MUTATIONS,
    ids=[f"{m[0]}-{m[5].split()[0]}-{i}" for i, m in enumerate(MUTATIONS)],
)
def test_a_mutation_is_caught_by_its_rule(rule, make, mutate, node, value, words) -> None:
    graph = make()
    verify(graph)
    with pytest.raises(GraphError) as caught:
        verify(mutate(graph))
    error = caught.value
    assert error.message.startswith(rule + " ")
    assert words in str(error)
    assert str(error).startswith("graph random")
    assert error.hint
    if node is not None:
        assert re.search(rf"graph random, node \d+ \w+ -> .*{re.escape(node)}", str(error))
    if value is not None:
        assert f"value {value!r}" in error.message


def test_every_rule_has_a_mutation() -> None:
    assert {rule.id for rule in RULES} == {mutation[0] for mutation in MUTATIONS}
    assert len({rule.id for rule in RULES}) == len(RULES)


def test_a_whole_message() -> None:
    with pytest.raises(GraphError) as caught:
        verify(bypass(sharded(), "l0.o.out"))
    assert str(caught.value) == (
        "graph random, node 16 add -> l0.a.sum: G30 partial: value 'l0.o.out.part' is a partial "
        "sum and meets add; put an allreduce between them"
    )


def test_swapping_independent_nodes_is_no_fault() -> None:
    verify(swap(model(), "l0.q.turned", "l0.k.turned"))


def test_unknown_stage() -> None:
    with pytest.raises(GraphError, match="unknown stage 'modle'; one of model"):
        verify(model(), "modle")


def test_a_graph_in_another_dtype_is_checked_too() -> None:
    b = Builder(name="half", dims={"D": 4, "V": 6}, act="bf16")
    x = b.add("embed", b.param("embed", ("V", "D")), b.ids)
    with pytest.raises(GraphError, match="w is bf16, must be f32"):
        b.add("rmsnorm", x, b.param("norm", ("D",)), eps=1e-5)
    with pytest.raises(GraphError, match="w is f32 but x is bf16"):
        b.add("linear", x, b.param("head", ("V", "D"), dtype="f32"))
    assert isinstance(b.dims, Dims)
