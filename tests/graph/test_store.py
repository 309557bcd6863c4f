"""Graphs on disk: the same text for the same graph, and a typed error for every other file."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from decoders import Spec, decoder, specs
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.errors import GraphError, ModelFormatError, TreadleError
from treadle.graph import FUSED, Builder, dumps, fuse, loads, shard
from treadle.graph.store import MAX_TEXT


@settings(max_examples=25)
@given(specs, st.sampled_from([1, 2]), st.booleans())
def test_round_trip_keeps_text_and_hash(spec: Spec, n: int, fused: bool) -> None:
    graph = decoder(spec) if n == 1 else shard(decoder(spec), n)
    graph = fuse(graph, set(FUSED)) if fused else graph
    text = dumps(graph)
    again = loads(text)
    assert dumps(again) == text
    assert again.hash == graph.hash == hashlib.sha256(text.encode()).hexdigest()
    assert again.nodes == graph.nodes
    assert dict(again.values) == dict(graph.values)


def test_layout() -> None:
    b = Builder(name="one", dims={"V": 6, "D": 4}, act="bf16")
    x = b.add("embed", b.param("embed", ("V", "D")), b.ids, name="x")
    y = b.add("rmsnorm", x, b.param("w", ("D",), dtype="f32"), eps=1e-05, name="y")
    data = json.loads(dumps(b.finish([y]).with_formats({"embed": "q8_0"})))
    assert list(data)[:4] == ["treadle_graph", "name", "stage", "dims"]
    assert data["dims"] == dict.fromkeys("LPRST") | {"D": 4, "V": 6}
    assert data["inputs"]["starts"] == ["i32", ["S+1"]]
    assert data["params"] == {"embed": ["bf16", ["V", "D"], "q8_0"], "w": ["f32", ["D"], "f32"]}
    assert data["nodes"][1] == ["rmsnorm", ["x", "w"], ["y"], {"eps": 1e-05}]
    assert "divided" not in data


def test_text_does_not_depend_on_the_order_of_declaration() -> None:
    texts = []
    for order in (("V", "D"), ("D", "V")):
        b = Builder(name="one", dims={name: {"V": 6, "D": 4}[name] for name in order})
        params = {name: b.param(name, (name, "D")) for name in order}
        x = b.add("embed", params["V"], b.ids, name="x")
        texts.append(dumps(b.finish([b.add("linear", x, params["D"], name="y")])))
    assert texts[0] == texts[1]


TEXT = dumps(decoder(Spec(layers=1)))


def data() -> dict[str, Any]:
    return json.loads(TEXT)


def put(*path: Any, value: Any):
    def change(tree: Any) -> None:
        for key in path[:-1]:
            tree = tree[key]
        tree[path[-1]] = value

    return change


HOSTILE = [
    (put("treadle_graph", value=2), "/treadle_graph: version 2"),
    (put("treadle_graph", value=True), "version True"),
    (put("extra", value=1), "/extra: unknown field 'extra'"),
    (lambda d: d.pop("nodes"), "field 'nodes' is missing"),
    (put("stage", value="cooked"), "/stage: unknown stage 'cooked'"),
    (put("name", value=7), "/name: expected a text"),
    (put("name", value="n" * 300), "/name: expected a text of 1 to 256"),
    (put("name", value="\ud800"), "/name: a name holds half a surrogate pair"),
    (put("dims", value=[]), "/dims: expected an object, got a list"),
    (put("dims", "D", value=-4), "G04 dims: D is -4"),
    (put("dims", "D", value=0), "G04 dims: D is 0"),
    (put("dims", "D", value=True), "/dims/D: expected an integer, got true or false"),
    (put("dims", "D", value=1.5), "/dims/D: expected an integer, got a number"),
    (put("dims", "D", value=1 << 60), "G04 dims: D is"),
    (put("dims", "D", value=None), "G04 dims: D has no size"),
    (put("dims", "T", value=4), "G04 dims: T is a run-time dim"),
    (put("dims", "H", value=["Hd"]), "goes in a circle"),
    (put("dims", "Hd", value=["H", "nope"]), "'nope' is not a dim"),
    (put("dims", "Hd", value=[]), "Hd is an empty product"),
    (put("dims", "Hd", value=["H"] * 9), "/dims/Hd: 9 entries, at most 8"),
    (put("dims", "F2", value=[1 << 40, 1 << 40]), "beyond 2"),
    (put("dims", "a b", value=3), "'a b' cannot name a dim"),
    (put("inputs", "ids", value=["i32"]), "/inputs/ids: 1 fields, expected 2"),
    (put("inputs", "ids", value=["i64", ["T"]]), "/inputs/ids: unknown dtype 'i64'"),
    (put("params", "head", value=["f32", ["V", "D"], "q9"]), "/params/head: unknown format 'q9'"),
    (put("params", "head", value=["f32", ["V", {}], "f32"]), "expected an integer, got an object"),
    (put("params", "head", value=[["f32"], ["V", "D"], "f32"]), "unknown dtype"),
    (put("params", "head", value=["f32", ["V", "D"], []]), "unknown format"),
    (put("nodes", 0, value=["embed", ["embed", "ids"], ["x"]]), "/nodes/0: 3 fields, expected 4"),
    (put("nodes", 0, 0, value=""), "/nodes/0/0: expected a text"),
    (put("nodes", 0, 1, value="embed"), "/nodes/0/1: expected a list, got a text"),
    (put("nodes", 0, 3, value=[]), "/nodes/0/3: expected an object"),
    (put("outputs", value=[["logits"]]), "/outputs/0: expected a text"),
    (put("divided", value={"H": 0}), "/divided/H: divided 0 ways"),
    (put("divided", value={"H": "2"}), "/divided/H: expected an integer"),
    # well-formed files of graphs that break a rule
    (put("nodes", 0, 0, value="embedd"), "G01 ops"),
    (put("nodes", 1, 3, value={"eps": "x"}), "G06 attrs"),
    (put("nodes", 1, 3, value={"eps": 1e999}), None),
    (put("nodes", 1, 3, value={}), "needs attr 'eps'"),
    (put("nodes", 1, 1, value=["x"]), "got 1 operands"),
    (put("outputs", value=[]), "G12 outputs"),
    (put("divided", value={"H": 2}), "G20 unsharded"),
]


@pytest.mark.parametrize(("change", "message"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_changed_file_is_refused_by_place(change, message) -> None:
    tree = data()
    change(tree)
    with pytest.raises((ModelFormatError, GraphError)) as caught:
        loads(json.dumps(tree))
    assert message is None or message in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        (b"\xff\xfe\xff", "not JSON"),
        ("[]", "expected an object, got a list"),
        ("null", "got null"),
        ("{", "not JSON"),
        ("[" * 200_000, "nested too deeply"),
        ('{"treadle_graph":1,"treadle_graph":1}', "key 'treadle_graph' occurs twice"),
        ('{"treadle_graph":NaN}', "NaN is not JSON"),
        ('{"treadle_graph":' + "9" * 5000 + "}", "not JSON"),
        (" " * (MAX_TEXT + 1), "at most"),
    ],
    ids=range(10),
)
def test_what_is_no_graph_file_is_refused(text, message) -> None:
    with pytest.raises(ModelFormatError, match=message):
        loads(text)


paths = st.integers(0, 10_000)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@settings(max_examples=150)
@given(paths, values, st.booleans())
def test_any_damage_is_a_typed_error_or_another_valid_graph(at: int, value: Any, cut: bool) -> None:
    tree = data()
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, child in list(items):
            places.append((node, key))
            if isinstance(child, dict | list):
                walk(child)

    walk(tree)
    holder, key = places[at % len(places)]
    if cut:
        del holder[key]
    else:
        holder[key] = value
    try:
        graph = loads(json.dumps(tree))
    except TreadleError:
        return
    assert dumps(loads(dumps(graph))) == dumps(graph)
