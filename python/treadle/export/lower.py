"""The fused graph to dispatches of WebGPU: lists for decode, batch, prefill and sampling.

Five dispatches a layer where a token of each sequence is run: norm and q, k, v; attention with its
prologue; output projection onto the residual; norm, gate, up and activation; down projection onto
the residual. A prefill splits attention in two, because a token reads keys of its own chunk.
`decode` is for one token in all, `batch` for one of each sequence, `prefill` for anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from treadle.errors import Unsupported
from treadle.export import fast, kernels
from treadle.export.memory import BINDING, Cut, Matrices, Matrix, Slots
from treadle.export.steps import BATCH, Plan, threads
from treadle.export.tier import Tier
from treadle.graph import Graph, Node, fuse

FUSIONS = (
    "take_norm_linear", "qkv", "qk_norm_rope_kv", "gate_up_glu", "rmsnorm_linear", "linear_add",
)  # fmt: skip
LISTS = ("decode", "batch", "prefill")


FEATURES = {
    "t0": (), "t1": ("shader-f16",), "t0s": ("subgroups",), "t2": ("shader-f16", "subgroups"),
}  # fmt: skip
"""WebGPU's tiers, and what each asks of a device."""

WIDE = 1 << 30
"""Bytes of a binding that devices of tier T2 have."""


def tier_gpu(
    name: str, graph: Graph, weights: Mapping[str, Matrix], binding: int | None = None,
    dialect: str = "tint",
) -> Tier:  # fmt: skip
    """One of FEATURES for a model: float16 KV in all of them. weights: format, rows and columns of
    each param as the bundle stores it.

    t0: float32, core WebGPU with default limits. t1: tokens and weights are multiplied in float16.
    t2: q4_0 and q4_1 in planes, read by subgroups where one token is run. t0s: as t2 there, and as
    t0 elsewhere. dialect: who compiles, "tint" or "naga". Raises Unsupported naming an op or format
    that has no kernel.
    """
    plan = Plan()
    matrices = Matrices(weights, binding or (WIDE if _swift(name) else BINDING))
    slots = Slots()
    for step in LISTS:
        _Lowering(fuse(graph, FUSIONS), plan, matrices, slots, step, name, dialect).run()
    vocab = _vocab(graph)
    _sampler(plan, vocab, name, dialect)
    plan.buffers |= matrices.buffers | slots.buffers()
    record = plan.record() | {
        "vocab": vocab, "page": graph.size("B"), "layers": len(graph.state),
        "dispatches": {name: len(steps) for name, steps in plan.lists.items()},
    }  # fmt: skip
    most = max(len(kernel.bindings) for kernel in plan.kernels.values())
    limits = {"maxStorageBuffersPerShaderStage": most}
    if _swift(name):
        limits["maxComputeWorkgroupStorageSize"] = fast.MEMORY
    needs: dict[str, Any] = {"features": list(FEATURES[name]), "limits": limits}
    return Tier(record, {f"kernels.{name}.wgsl": plan.text()}, needs)


def _swift(tier: str) -> bool:
    """Whether a tier has the kernels of `fast`."""
    return "subgroups" in FEATURES[tier]


def _size(graph: Graph, axis: str | int) -> int:
    return axis if isinstance(axis, int) else graph.size(axis)


def _vocab(graph: Graph) -> int:
    return _size(graph, graph.values[graph.outputs[0]].shape[-1])


def _sampler(plan: Plan, vocab: int, tier: str, dialect: str) -> None:
    tile, pick = kernels.sampler(vocab, _swift(tier), dialect)
    count = kernels.tiles(vocab)
    plan.buffers |= {
        "draws": {"size": "64 * R"},
        "mask": {"size": f"{4 * -(-vocab // 32)} * R"},
        "tiles": {"size": f"{32 * count} * R"},
        "scores": {"size": f"{4 * vocab} * R"},
        "drawn": {"size": "4 * R"},
        "told": {"size": "192 * R"},
        "entries": {"size": "12 * E"},
    }
    same = {b.name: b.name for kernel in (tile, pick) for b in kernel.bindings}
    plan.step("sample", tile, same, [count, "R"])
    plan.step("sample", pick, same, ["R"])


class _Lowering:
    """One list. Values of the graph lie in slots; views and packed q, k, v are names for others."""

    def __init__(
        self, graph: Graph, plan: Plan, matrices: Matrices, slots: Slots, name: str,
        tier: str, dialect: str,
    ) -> None:  # fmt: skip
        self.graph, self.plan, self.matrices = graph, plan, matrices
        self.slots, self.list = slots, name
        self.many = name != "decode"
        self.tier, self.dialect = tier, dialect
        self.half = "shader-f16" in FEATURES[tier]
        self.fast = _swift(tier) and name == "decode"
        self.shares: dict[str, tuple[int, int]] = {}  # attention outputs that lie in shares
        self.packed: dict[str, str] = {}  # a value -> the one that is it as its reader stages it
        self.same: dict[str, str] = {}  # a value -> the one whose buffer it is
        self.done: set[int] = set()
        self.left: dict[str, int] = {}

    def run(self) -> None:
        """Adds every dispatch."""
        self.plan.buffers["batch"] = {"size": BATCH}
        for index, node in enumerate(self.graph.nodes):
            if index not in self.done:
                self._node(index, node)
        for value in {self._root(v) for node in self.graph.nodes for v in node.outputs}:
            self.slots.end(value)

    def _node(self, index: int, node: Node) -> None:
        lower = {
            "embed": self._embed, "qkv": self._qkv, "linear": self._linear,
            "linear_add": self._linear, "rmsnorm_linear": self._linear,
            "rmsnorm": self._rmsnorm, "gate_up_glu": self._glu, "view": self._view,
            "qk_norm_rope_kv": self._attention, "take_norm_linear": self._head,
        }.get(node.op)  # fmt: skip
        if lower is None:
            raise Unsupported(
                f"no WGSL kernel for {node.op}", at=self.graph.place(index),
                hint="run this model on the CPU tier (wasm)",
            )  # fmt: skip
        lower(index, node)

    # Values and their buffers.

    def _root(self, value: str) -> str:
        while value in self.same:
            value = self.same[value]
        return value

    def _width(self, value: str) -> int:
        return _size(self.graph, self.graph.values[value].shape[-1])

    def _in(self, value: str) -> str:
        return self.slots.of(self._root(value))

    def _out(self, value: str, width: int, inputs: tuple[str, ...], at: int) -> str:
        """A slot for a value made by node `at`; inputs that end there free theirs afterwards."""
        slot = self.slots.give(value, width)
        self._end(inputs, at)
        return slot

    def _end(self, inputs: tuple[str, ...], at: int) -> None:
        """Frees the slots of values that nobody reads after node `at`."""
        for name in {self._root(v) for v in inputs}:
            if self._last(name) <= at:
                self.slots.end(name)

    def _pack(self, value: str, width: int) -> str:
        """A slot for a value as its one reader stages it; it has no reader of its own in the graph,
        so whoever names it among its inputs frees it."""
        self.packed[value] = f"{value} packed"
        return self.slots.give(self.packed[value], fast.packed_width(width))

    def _last(self, root: str) -> int:
        """Index of the last node that reads a value under any of its names."""
        names = {root, *(v for v in self.same if self._root(v) == root)}
        last = -1
        for name in names:
            for index in self.graph.readers.get(name, ()):
                node = self.graph.nodes[index]
                last = max(last, index)
                if node.op == "view":
                    last = max(last, self._last(node.outputs[0]))
                elif node.op == "rmsnorm":  # its reader may recompute it from the same input
                    last = max(last, *self.graph.readers.get(node.outputs[0], (index,)))
        return last

    def _only_reader(self, value: str, *ops: str) -> tuple[int, Node] | None:
        """The one node that reads a value, if it is one of these ops."""
        readers = self.graph.readers.get(value, ())
        if len(readers) != 1 or value in self.graph.outputs:
            return None
        node = self.graph.nodes[readers[0]]
        return (readers[0], node) if node.op in ops else None

    def _params(self, names: Mapping[str, str]) -> dict[str, str]:
        return {key: self.matrices.vector(name) for key, name in names.items()}

    def _tokens(self, count: str) -> str:
        return f"ceil({count}, 4)" if self.many else count

    # One method an op.

    def _embed(self, index: int, node: Node) -> None:
        table, out, by = node.inputs[0], node.outputs[0], 1.0
        scaled = self._only_reader(out, "scale")
        if scaled is not None:
            self.done.add(scaled[0])
            out, by = scaled[1].outputs[0], float(scaled[1].attrs["by"])  # pyright: ignore[reportArgumentType]
        columns = self.matrices.columns(table)
        slot = self._out(out, columns, (), index)
        for cut in self.matrices.stacked([table]):
            self.matrices.whole.add(cut.buffer)
            kernel = kernels.embed(cut.segments[0], columns, rows=(cut.rows, cut.first), by=by)
            held = {"w": cut.buffer, "batch": "batch", "drawn": "drawn", "out": slot}
            units = f"T * {kernels.embed_units(columns)}"
            self.plan.step(self.list, kernel, held, [threads(units)])

    def _view(self, index: int, node: Node) -> None:
        self.same[node.outputs[0]] = node.inputs[0]

    def _rmsnorm(self, index: int, node: Node) -> None:
        reader = self._only_reader(node.outputs[0], "qkv", "gate_up_glu")
        if reader is not None and reader[1].inputs[0] == node.outputs[0]:
            return  # the reader recomputes it
        x, norm = node.inputs
        out, y = node.outputs[0], None
        added = self._only_reader(out, "add")
        if added is not None and len(set(added[1].inputs)) == 2:
            y = next(v for v in added[1].inputs if v != out)
            if self.slots.holds(self._root(y)):
                self.done.add(added[0])
                out = added[1].outputs[0]
            else:
                y = None
        columns = self._width(x)
        inputs = (x,) if y is None else (x, y)
        held = {"x": self._in(x)} | self._params({"norm": norm})
        held |= {} if y is None else {"y": self._in(y)}
        held["out"] = self._out(out, columns, inputs, index if y is None else self._place(out))
        eps = float(node.attrs["eps"])  # pyright: ignore[reportArgumentType]
        rows = [n for n in self.graph.values[x].shape[:-1] if n != "T"]
        if rows:
            raise Unsupported("no WGSL kernel for this norm of heads", at=self.graph.place(index))
        self.plan.step(self.list, kernels.rmsnorm(columns, eps, add=y is not None), held, ["T"])

    def _place(self, value: str) -> int:
        return self.graph.producers[value]

    def _folded(self, value: str) -> tuple[str, str, float] | None:
        """Input, weight and eps of the norm that made a value, if its reader recomputes it."""
        index = self.graph.producers.get(value)
        if index is None or self.graph.nodes[index].op != "rmsnorm" or self.slots.holds(value):
            return None
        node = self.graph.nodes[index]
        return node.inputs[0], node.inputs[1], float(node.attrs["eps"])  # pyright: ignore[reportArgumentType]

    def _project(
        self, op: str, cuts: list[Cut], columns: int, stride: int, held: dict[str, str], **more: Any
    ) -> None:
        tokens = "R" if op == "take_norm_linear" else "T"
        heads, packed = more.pop("heads", None), more.pop("packed", False)
        planes = self._planes(cuts, columns)
        if planes is not None and self.fast:
            rows = cuts[0].rows
            packs = "packed" in held
            kernel = fast.project(
                op, cuts[0].segments[0].format, rows, columns,
                dialect=self.dialect, heads=heads, packed=packed, packs=packs, **more,
            )  # fmt: skip
            form = fast.form_of(rows, columns, 4 if packs else 0, heads is not None)
            groups = fast.grid(rows, form)
            self.plan.step(self.list, kernel, held | planes, [groups, tokens])
            return
        for cut in cuts:
            kernel = kernels.project(
                op, cut.segments, columns, many=self.many, half=self.half,
                planes=planes is not None, rows=(cut.rows, cut.first, stride), **more,
            )  # fmt: skip
            grid = [-(-cut.rows // kernels.WG), self._tokens(tokens)]
            self.plan.step(self.list, kernel, held | (planes or {"w": cut.buffer}), grid)

    def _planes(self, cuts: list[Cut], columns: int) -> dict[str, str] | None:
        """The two buffers of a stack of matrices in planes, where T2 has a kernel for it."""
        formats = {segment.format for cut in cuts for segment in cut.segments}
        if not _swift(self.tier) or len(cuts) > 1 or len(formats) > 1:
            return None
        format = formats.pop()
        return self.matrices.planes(cuts[0], format) if fast.takes(format, columns) else None

    def _qkv(self, index: int, node: Node) -> None:
        x, names, bias = node.inputs[0], list(node.inputs[1:4]), node.inputs[4:]
        norm = self._folded(x)
        source = norm[0] if norm else x
        width = sum(self._width(v) for v in node.outputs)
        packed = self.packed.get(source)
        held = {"x": self._in(packed or source)}
        held |= self._params({"norm": norm[1]}) if norm else {}
        held |= {"b": self.matrices.vector(*bias)} if bias else {}
        first = node.outputs[0]
        self.same |= dict.fromkeys(node.outputs[1:], first)
        held["out"] = self._out(first, width, (source, packed or source), index)
        self._project(
            "rmsnorm_linear" if norm else "linear", self.matrices.stacked(names),
            self._width(source), width, held, eps=norm[2] if norm else None, bias=bool(bias),
            packed=packed is not None,
        )  # fmt: skip

    def _linear(self, index: int, node: Node) -> None:
        declared = dict(zip(node.declared.in_names, node.inputs, strict=False))
        x, w, b = declared["x"], declared["w"], declared.get("b")
        packed = self.packed.get(self._root(x))
        inputs = [packed or x]
        held = {"x": self._in(inputs[0])}
        if node.op == "linear_add":
            inputs.append(declared["y"])
            held["y"] = self._in(declared["y"])
        held |= self._params({"norm": declared["norm"]}) if "norm" in declared else {}
        held |= {"b": self.matrices.vector(b)} if b else {}
        width = self._width(node.outputs[0])
        following = self._next_norm(node.outputs[0]) if self._fast_reads([w]) else None
        if following is not None and fast.packs_whole(width):
            held["packed"] = self._pack(node.outputs[0], width)
            held |= self._params({"next": following})
        held["out"] = self._out(node.outputs[0], width, tuple(inputs), index)
        eps: Any = node.attrs.get("eps")
        self._project(
            node.op, self.matrices.stacked([w]), self._width(x), width, held,
            eps=eps if "norm" in declared else None, bias=b is not None,
            heads=self.shares.get(self._root(x)), packed=packed is not None,
        )  # fmt: skip

    def _glu(self, index: int, node: Node) -> None:
        x, wg, wu = node.inputs
        norm = self._folded(x)
        source = norm[0] if norm else x
        width = self._width(node.outputs[0])
        packed = self.packed.get(source)
        held = {"x": self._in(packed or source)}
        held |= self._params({"norm": norm[1]}) if norm else {}
        cuts = self.matrices.paired([wg, wu])
        planes = None if width % 2 else self._planes(cuts, self._width(source))
        out = node.outputs[0]
        if planes is not None and self.fast:
            reader = self._only_reader(out, "linear_add", "linear")
            packs = reader is not None and self._fast_reads([reader[1].inputs[1]])
            kernel = fast.gate_up_glu(
                cuts[0].segments[0].format, width, self._width(source), act=str(node.attrs["act"]),
                eps=norm[2] if norm else None, dialect=self.dialect,
                packed=packed is not None, packs=packs,
            )  # fmt: skip
            form = fast.form_of(2 * width, self._width(source), 8 if packs else 0)
            groups = fast.grid(2 * width, form)
            if packs:
                held["packed"] = self._pack(out, width)
            else:
                held["out"] = self._out(out, width, (), index)
            self._end((source, packed or source), index)
            self.plan.step(self.list, kernel, held | planes, [groups, "T"])
            return
        held["out"] = self._out(out, width, (source,), index)
        for cut in cuts:
            kernel = kernels.gate_up_glu(
                cut.segments, self._width(source), act=str(node.attrs["act"]),
                eps=norm[2] if norm else None, many=self.many, rows=(cut.first, width),
                half=self.half, planes=planes is not None,
            )  # fmt: skip
            grid = [-(-cut.rows // 2 // kernels.WG), self._tokens("T")]
            self.plan.step(self.list, kernel, held | (planes or {"w": cut.buffer}), grid)

    def _attention(self, index: int, node: Node) -> None:
        declared = dict(zip(node.declared.in_names, node.inputs, strict=False))
        turned, version = node.outputs
        reader = self._only_reader(version, "attention")
        if reader is None or reader[1].inputs[0] != turned or not self._packed(declared):
            raise Unsupported("this attention is not a decoder's", at=self.graph.place(index))
        at, attention = reader
        self.done.add(at)
        H, d = (_size(self.graph, n) for n in self.graph.values[turned].shape[1:])
        heads = (H, _size(self.graph, self.graph.values[declared["k"]].shape[1]), d)
        page = self.graph.size("B")
        attrs: dict[str, Any] = {**node.attrs, **attention.attrs}
        attrs["rotary"] = self._width(declared["freq"])
        norms = {key: declared[key] for key in ("q_norm", "k_norm") if key in declared}
        state = self.graph.buffer_of(version)
        words = 2 * page * heads[1] * heads[2] * 2
        self.plan.buffers[state] = {"size": f"P * {words}", "kv": True}
        held = {"qkv": self._in(declared["q"]), "batch": "batch", "kv": state}
        held |= self._params({"freq": declared["freq"], **norms})
        groups = H // kernels.group(heads)
        out = attention.outputs[0]
        if self._shared(out, heads):
            held["out"] = self._out(out, fast.share_width(heads), (declared["q"],), at)
            kernel = fast.attention_step(heads, page, attrs, norms, self.dialect)
            self.plan.step(self.list, kernel, held, [groups, "T", fast.splits()])
            self.shares[out] = (H, d)
            return
        if self.list != "prefill":
            held["out"] = self._out(out, H * d, (declared["q"],), at)
            kernel = kernels.attention_step(heads, page, attrs, norms)
            self.plan.step(self.list, kernel, held, [groups, "T"])
            return
        held["out"] = held["q"] = self._out(turned, H * d, (declared["q"],), index)
        kernel = kernels.qk_norm_rope_kv(heads, page, attrs, norms)
        self.plan.step(self.list, kernel, held, [H + 2 * heads[1], "T"])
        held["out"] = self._out(out, H * d, (turned,), at)
        self.plan.step(self.list, kernels.attention(heads, page, attrs), held, [groups, "T"])

    def _shared(self, out: str, heads: tuple[int, int, int]) -> bool:
        """Whether attention may leave its shares to the projection that alone reads it."""
        flat = self._only_reader(out, "view")
        reader = self._only_reader(flat[1].outputs[0], "linear_add", "linear") if flat else None
        return reader is not None and fast.shares(heads) and self._fast_reads([reader[1].inputs[1]])

    def _fast_reads(self, names: list[str]) -> bool:
        """Whether a kernel of `fast` multiplies with these matrices."""
        columns = self.matrices.columns(names[0])
        return self.fast and self._planes(self.matrices.stacked(names), columns) is not None

    def _next_norm(self, value: str) -> str | None:
        """The vector of the one norm of a value, if it is part of the projection that alone reads
        it and that projection is one of `fast`."""
        readers = [self.graph.nodes[i] for i in self.graph.readers.get(value, ())]
        norms = [node for node in readers if node.op in ("rmsnorm", "take_norm_linear")]
        if len(norms) != 1 or any(node.op not in (norms[0].op, "linear_add") for node in readers):
            return None
        norm = norms[0]
        if norm.op == "take_norm_linear":
            declared = dict(zip(norm.declared.in_names, norm.inputs, strict=False))
            return declared["norm"] if self._fast_reads([declared["w"]]) else None
        reader = self._only_reader(norm.outputs[0], "qkv", "gate_up_glu")
        if reader is None or reader[1].inputs[0] != norm.outputs[0]:
            return None
        op, names = reader[1].op, list(reader[1].inputs[1:4])
        if op == "gate_up_glu":
            cuts = self.matrices.paired(names[:2])
            fits = self._planes(cuts, self.matrices.columns(names[0])) is not None
            fits = fits and self.matrices.rows(names[0]) % 2 == 0
        else:
            fits = self._fast_reads(names)
        return norm.inputs[1] if fits else None

    def _packed(self, declared: Mapping[str, str]) -> bool:
        """Whether q, k and v are the three parts of one projection."""
        index = self.graph.producers.get(self._root(declared["q"]))
        if index is None or self.graph.nodes[index].op != "qkv":
            return False
        return len({self._root(declared[name]) for name in "qkv"}) == 1

    def _head(self, index: int, node: Node) -> None:
        declared = dict(zip(node.declared.in_names, node.inputs, strict=False))
        out, cap = node.outputs[0], 0.0
        capped = self._only_reader(out, "softcap")
        if capped is not None:
            self.done.add(capped[0])
            out, cap = capped[1].outputs[0], float(capped[1].attrs["cap"])  # pyright: ignore[reportArgumentType]
        if out != self.graph.outputs[0] or "b" in declared:
            raise Unsupported("this head is not a decoder's", at=self.graph.place(index))
        vocab = self._width(out)
        self.plan.buffers["logits"] = {"size": f"R * {4 * vocab}"}
        x = declared["x"]
        packed = self.packed.get(self._root(x))
        held = {"x": self._in(packed or x), "batch": "batch", "out": "logits"}
        held |= self._params({"norm": declared["norm"]})
        eps: Any = node.attrs["eps"]
        width = self._width(declared["x"])
        self.plan.states[self.list] = self._in(x)  # nothing writes it again before the next step
        self.plan.norm = {"norm": held["norm"], "eps": eps, "width": width}
        self._project(
            "take_norm_linear", self.matrices.stacked([declared["w"]]),
            width, vocab, held, eps=eps, cap=cap, packed=packed is not None,
        )  # fmt: skip
