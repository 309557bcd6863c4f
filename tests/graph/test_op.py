"""The declaration language and the builder: what fits is inferred, what clashes is named."""

from __future__ import annotations

import pytest

from treadle.errors import GraphError
from treadle.graph import OPS, Builder, Dims, op, reference
from treadle.graph.fusion import fused
from treadle.graph.op import AttrSpec
from treadle.graph.signature import Operand

DIMS = Dims({"D": 6, "H": 2, "K": 2, "d": 3, "Hd": ("H", "d"), "F": 8, "B": 4, "E": 5, "A": 2})


def infer(name: str, *kinds, **attrs):
    declared = OPS[name]
    return declared.infer(kinds, declared.check_attrs(attrs, DIMS), DIMS)


def test_signature_grammar() -> None:
    operand = Operand.parse("w", "*n S+1 2 D i32 ?")
    assert (operand.group, operand.axes) == ("n", ("S+1", 2, "D"))
    assert (operand.dtype, operand.optional) == ("i32", True)
    with pytest.raises(ValueError, match="may only come first"):
        Operand.parse("x", "D *n")


def test_shapes_and_dtypes_follow() -> None:
    assert infer("linear", ("bf16", ("T", "D")), ("bf16", ("Hd", "D"))) == (("bf16", ("T", "Hd")),)
    assert infer("rmsnorm", ("f16", ("T", "H", "d")), ("f32", ("d",)), eps=1) == (
        ("f16", ("T", "H", "d")),
    )
    assert infer("route", ("f16", ("T", "E")), renorm=True, score="softmax", A="A") == (
        ("f32", ("T", "A")),
        ("i32", ("T", "A")),
    )
    assert infer("view", ("f32", ("T", "Hd")), shape=("T", "H", "d")) == (("f32", ("T", "H", "d")),)
    assert infer("view", ("f32", ("T", "H", "d")), shape=("T", 1, "Hd"))[0][1] == ("T", 1, "Hd")
    # a dim and the product it stands for are the same axis
    assert infer("linear", ("f32", ("T", "Hd")), ("f32", ("F", "Hd")))[0][1] == ("T", "F")


CLASHES = [
    (("linear", ("f32", ("T", "D")), ("f32", ("F", "Hd"))),
     "linear: axis I is D (6) in x but Hd (6) in w; the sizes agree but the names do not"),
    (("linear", ("f32", ("T", "D")), ("f32", ("D", "F"))),
     "linear: axis I is D (6) in x but F (8) in w; one of the two operands has the wrong shape"),
    (("linear", ("f32", ("T", "D")), ("f32", ("F", "D")), ("f32", ("D",))),
     "linear: axis O is F (8) in w but D (6) in b"),
    (("linear", ("f32", ("T", "D"))), "linear: got 1 operands; it takes x, w, b?"),
    (("linear", ("f32", ("T", "D")), ("f16", ("F", "D"))), "linear: w is f16 but x is f32"),
    (("linear", ("i32", ("T", "D")), ("f32", ("F", "D"))), "linear: x is i32, must be one of f32"),
    (("rope", ("f32", ("T", "D")), ("i32", ("T",)), ("f32", (1,))),
     "rope: x has shape [T, D (6)], must be [T, H, d]"),
    (("rope", ("f32", ("T", "H", "d")), ("i32", ("T",)), ("f32", ("d",))),
     "rope: 2 * r <= d does not hold for d = 3, r = 3"),
    (("embed", ("f32", ("F", "D")), ("f32", ("T",))), "embed: ids is f32, must be i32"),
    (("add", ("f32", ("T", "D")), ("f32", ("T", "F"))),
     "add: leading axes n are [T, D (6)] in x but [T, F (8)] in y"),
    (("add", ("f32", ("T", "D")), ("f32", ("D",))), "add: leading axes n are"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), CLASHES, ids=range(len(CLASHES)))
def test_a_clash_names_op_operand_axis_and_both_sizes(call, message) -> None:
    with pytest.raises(GraphError) as caught:
        infer(*call)
    assert message in str(caught.value)


def test_attention_checks_groups_and_fixed_axes() -> None:
    batch = (("i32", ("S+1",)), ("i32", ("S",)), ("i32", ("S", "L")))
    kv = ("f32", ("P", 2, "B", "K", "d"))
    assert infer("attention", ("f32", ("T", "H", "d")), kv, *batch, scale=1)
    with pytest.raises(GraphError, match="H % K == 0 does not hold for H = 5, K = 2"):
        infer("attention", ("f32", ("T", "E", "d")), kv, *batch, scale=1)
    with pytest.raises(GraphError, match=r"kv must have 2 where it has H \(2\)"):
        infer(
            "attention",
            ("f32", ("T", "H", "d")),
            ("f32", ("P", "H", "B", "K", "d")),
            *batch,
            scale=1,
        )
    with pytest.raises(GraphError, match=r"starts must have S\+1 where it has S"):
        infer("attention", ("f32", ("T", "H", "d")), kv, ("i32", ("S",)), *batch[1:], scale=1)


def test_view_and_split_check_their_attrs() -> None:
    with pytest.raises(
        GraphError, match=r"\[T, D \(6\)\] cannot be seen as \[T, H \(2\), d \(3\)\]"
    ):
        infer("view", ("f32", ("T", "D")), shape=("T", "H", "d"))
    with pytest.raises(GraphError, match=r"sizes D \(6\) \+ 3 do not add up to F \(8\)"):
        infer("split", ("f32", ("T", "F")), sizes=("D", 3))
    assert len(infer("split", ("f32", ("T", "F")), sizes=("D", 2))) == 2


@pytest.mark.parametrize(
    ("spec", "good", "bad"),
    [
        (AttrSpec(float), [1, 0.5], [True, "1", float("nan"), float("inf"), None]),
        (AttrSpec(int), [3], [3.0, True, "3"]),
        (AttrSpec(bool), [True], [1, 0, "yes"]),
        (AttrSpec(("a", "b")), ["a"], ["c", 1]),
        (AttrSpec("text"), ["tp"], ["", 3]),
        (AttrSpec("dim"), ["H", 3], [True, 1.0, ["H"]]),
        (AttrSpec("dims"), [["H", 2], ("T",)], ["H", [1.5], [None]]),
    ],
)
def test_attr_kinds(spec, good, bad) -> None:
    for value in good:
        assert spec.check(value, DIMS) == (tuple(value) if isinstance(value, list) else value)
    for value in bad:
        with pytest.raises(ValueError, match=r"must (be|hold)"):
            spec.check(value, DIMS)
    assert isinstance(AttrSpec(float).check(1, DIMS), float)


def test_dims() -> None:
    assert DIMS.flat(("T", "Hd", 1, 2)) == ("T", "H", "d", 2)
    assert DIMS.size("Hd") == 6
    assert DIMS.size("T") is None
    assert DIMS.size("S+1", {"S": 4}) == 5
    for table, message in (
        ({"T": 3}, "run-time dim"),
        ({"X": None}, "no size"),
        ({"X": ("Y",)}, "not a dim"),
        ({"X": ("Y",), "Y": ("X",)}, "circle"),
        ({"X": ("H+1",), "H": 2}, "not a dim"),
    ):
        with pytest.raises(GraphError, match=message):
            Dims(table)


def test_declarations_are_unique() -> None:
    with pytest.raises(ValueError, match="declared twice"):
        op("add", ins={"x": "*n"}, outs={"y": "*n"})
    with pytest.raises(ValueError, match="declared twice"):
        fused("add", ins="x", outs="y", parts=[])
    with pytest.raises(ValueError, match="come last"):
        fused("odd", ins="x? y", outs="z", parts=[])
    with pytest.raises(GraphError, match="G01 ops: 'conv' is no op"):
        reference("conv")


class TestBuilder:
    """Mistakes are found at the line that makes them."""

    def setup_method(self) -> None:
        self.b = Builder(name="tiny", dims={"D": 4, "V": 6})
        self.w = self.b.param("embed", ("V", "D"))

    def test_names_are_fresh_or_given(self) -> None:
        x = self.b.add("embed", self.w, self.b.ids)
        assert (x.name, x.dtype, x.shape) == ("embed.0", "f32", ("T", "D"))
        assert self.b.add("add", x, x, name="sum").name == "sum"
        parts = self.b.add_many("split", x, sizes=(1, 3))
        assert [p.name for p in parts] == ["split.0.0", "split.0.1"]

    def test_a_name_is_used_once(self) -> None:
        with pytest.raises(GraphError, match="G02 names: value 'embed' exists already"):
            self.b.add("embed", self.w, self.b.ids, name="embed")
        with pytest.raises(GraphError, match="value 'ids' exists already"):
            self.b.state("ids", ("T",))

    def test_values_of_another_builder_are_refused(self) -> None:
        other = Builder(name="other", dims={"D": 8, "V": 6})
        with pytest.raises(GraphError, match="'embed' does not belong to this builder"):
            self.b.add("embed", other.param("embed", ("V", "D")), self.b.ids)

    def test_places_are_named(self) -> None:
        x = self.b.add("embed", self.w, self.b.ids, name="x")
        with pytest.raises(GraphError, match="graph tiny, node 1 linear -> y: G05 shapes: linear"):
            self.b.add("linear", x, self.b.ids, name="y")
        with pytest.raises(GraphError, match="graph tiny, node 1 rmsnorm -> y: G06 attrs"):
            self.b.add("rmsnorm", x, self.w, name="y")
        with pytest.raises(GraphError, match="graph tiny, node 1 conv -> y: G01 ops"):
            self.b.add("conv", x, name="y")
        with pytest.raises(GraphError, match="2 are named"):
            self.b.add_many("add", x, x, names=("y", "z"))

    def test_shapes_are_tuples_of_known_dims(self) -> None:
        with pytest.raises(GraphError, match=r'is the text .*; a shape is a tuple: \("D",\)'):
            self.b.param("w", "D")
        with pytest.raises(GraphError, match="'X' is not a dim"):
            self.b.param("w", ("X",))
        with pytest.raises(GraphError, match="'f8' is no dtype"):
            self.b.param("w", ("D",), dtype="f8")

    def test_the_graph_is_frozen(self) -> None:
        graph = self.b.finish([self.b.add("embed", self.w, self.b.ids, name="x")])
        with pytest.raises(TypeError):
            graph.params["x"] = self.w  # type: ignore[index]
        with pytest.raises(AttributeError):
            graph.stage = "fused"  # type: ignore[misc]
        assert graph.with_formats({"embed": "q4_0"}).params["embed"].format == "q4_0"
        assert graph.params["embed"].format == "f32"
        for formats, message in (({"x": "f16"}, "no param 'x'"), ({"embed": "q9"}, "format 'q9'")):
            with pytest.raises(GraphError, match=message):
                graph.with_formats(formats)
        assert graph.size("D") == 4
        with pytest.raises(GraphError, match="T is sized when a batch runs"):
            graph.size("T")
        with pytest.raises(GraphError, match="x is no KV version"):
            graph.buffer_of("x")
