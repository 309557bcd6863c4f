"""Graph to phases: what needs no boundary of its own joins a neighbour.

Linear, attention and experts are phases. A norm, a residual sum, a row gather and a sum over ranks
join the loader of the phase that reads them; scale, soft cap, gate and (eagerly) the residual sum
join the epilogue of the phase that makes them; rope, head norms and the KV append join attention.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

from msgspec import structs

from treadle.errors import Unsupported
from treadle.graph import FUSED, Graph, Node
from treadle.graph import fuse as fuse_graph
from treadle.mega.phases import Heads, Load, Norm, Phase, Route
from treadle.mega.prologue import Prologue, prologues
from treadle.mega.records import Act, Code
from treadle.mega.target import Target

COMPOSITIONS = ("qkv", "qk_norm_rope_kv", "gate_up_glu", "route_experts")
"""What the graph's own pass groups first; the rest is followed value by value."""

_ACTS = {"silu": Act.SILU, "gelu_tanh": Act.GELU_TANH}


def fuse(graph: Graph, target: Target, rows: int) -> tuple[Phase, ...]:
    """The phases of a graph for a bucket of `rows`, down to the sampled token.

    A model or sharded graph is grouped first; `grouped(graph)` saves that for several buckets.
    Raises GraphError from the graph's own pass, Unsupported naming the node that no phase takes.
    """
    walk = _Walk(grouped(graph), target, rows)
    for index, node in enumerate(walk.graph.nodes):
        if index not in walk.joined:
            walk.node(index, node)
    return tuple(walk.phases)


def grouped(graph: Graph) -> Graph:
    """The graph with the compositions that phases are made of; a fused one is left as it is."""
    return graph if graph.stage == "fused" else fuse_graph(_unscaled(graph), COMPOSITIONS)


def _unscaled(graph: Graph) -> Graph:
    """The graph with factors of a query moved into the scale of its scores: rotation is linear."""
    gone: dict[str, str] = {}  # output of a scale that goes -> what it scaled
    scales: dict[int, float] = {}
    for node in graph.nodes:
        if node.op != "scale":
            continue
        value, index = node.outputs[0], -1
        while len(readers := graph.readers.get(value, ())) == 1:
            index = readers[0]
            if graph.nodes[index].op not in ("rope", "view") or value in graph.outputs:
                break
            value = graph.nodes[index].outputs[0]
        after = graph.nodes[index]
        if index >= 0 and after.op == "attention" and after.inputs[0] == value:
            gone[node.outputs[0]] = node.inputs[0]
            scales[index] = scales.get(index, 1.0) * cast("float", node.attrs["by"])
    if not gone:
        return graph
    kept: list[Node] = []
    for i, node in enumerate(graph.nodes):
        if node.outputs[0] in gone:
            continue
        made = structs.replace(node, inputs=tuple(_followed(gone, name) for name in node.inputs))
        if i in scales:
            scale = cast("float", node.attrs["scale"]) * scales[i]
            made = structs.replace(made, attrs={**node.attrs, "scale": scale})
        kept.append(made)
    return structs.replace(graph, nodes=tuple(kept))


def _followed(gone: Mapping[str, str], name: str) -> str:
    while name in gone:
        name = gone[name]
    return name


class _Walk:
    """Follows the nodes in order; `loads` says how each value met so far is read."""

    def __init__(self, graph: Graph, target: Target, rows: int) -> None:
        self.graph, self.target = graph, target
        self.staged, self.prepared = rows > target.stage, rows > target.prep
        self.phases: list[Phase] = []
        self.joined: set[int] = set()
        self.loads: dict[str, Load] = {}
        self._written: dict[str, int] = {}
        self._prologues = dict(prologues(graph))
        self.joined.update(*(made.joined for made in self._prologues.values()))
        self._prepared: tuple[str, Load] | None = None
        self._branches = 0
        self._ops: dict[str, Callable[[Node], None]] = {
            "embed": self._embed,
            "linear": self._linear,
            "qkv": self._qkv,
            "gate_up_glu": self._gate_up,
            "qk_norm_rope_kv": self._prologue,
            "attention": self._attention,
            "route_experts": self._experts,
            "rmsnorm": self._norm,
            "add": self._add,
            "take": self._take,
            "view": self._same,
            "allreduce": self._same,
        }

    def node(self, index: int, node: Node) -> None:
        """Lowers one node."""
        lower = self._ops.get(node.op)
        if lower is None:
            raise self._unsupported(
                node, "joins no phase here", f"put it beside {', '.join(self._ops)}"
            )
        self._at = index
        lower(node)

    # -- phases -----------------------------------------------------------------------------

    def _embed(self, node: Node) -> None:
        scale, cap, value = self._epilogue(node.outputs[0])
        if cap:
            raise self._unsupported(node, "cannot be soft-capped", "cap a linear's output")
        width = self._width(value)
        table = self.graph.params[node.inputs[0]].shape
        rows = (self.graph.dims.size(table[0]) or 1,)
        weights = node.inputs[:1]
        self._emit(
            Phase(Code.EMBED, Load(width), "x0", width, rows=rows, weights=weights, scale=scale)
        )
        self._keep(value, Load(width, "x0"))

    def _linear(self, node: Node) -> None:
        load, store = self._input(node.inputs[0])
        weights, biases = node.inputs[1:2], node.inputs[2:]
        phase = self._made(node, Phase(Code.LINEAR, load, "", 0, store, weights, biases))
        if phase.out == "logits":
            self._sample(phase)

    def _qkv(self, node: Node) -> None:
        load, store = self._input(node.inputs[0])
        rows = tuple(self._width(name) for name in node.outputs)
        self._emit(
            Phase(
                Code.LINEAR, load, "qkv", sum(rows), store, node.inputs[1:4], node.inputs[4:], rows
            )
        )
        for name in node.outputs:
            self._keep(name, Load(sum(rows), "qkv"))

    def _gate_up(self, node: Node) -> None:
        load, store = self._input(node.inputs[0])
        width = self._width(node.outputs[0])
        act = _ACTS[cast("str", node.attrs["act"])]
        rows = (width, width)
        self._emit(
            Phase(Code.LINEAR, load, "act", width, store, node.inputs[1:], (), rows, act=act)
        )
        self._keep(node.outputs[0], Load(width, "act"))

    def _attention(self, node: Node) -> None:
        found = self._prologues.get(node.inputs[0])
        if found is None:
            raise self._unsupported(
                node,
                "has a q or k made otherwise than by a norm and a rope",
                "project q, k and v from one value; norm heads first, then turn q and k alike",
            )
        attrs = node.attrs
        heads = replace(
            found.heads,
            scale=cast("float", attrs["scale"]),
            window=cast("int", attrs["window"]),
            cap=cast("float", attrs["softcap"]),
        )
        load = self._checked(found.q)
        n = heads.heads * heads.head
        if self.staged:
            self._emit(Phase(Code.KV, load, "qkv", load.width, heads=heads))
            load = self._fresh(load)
            self._emit(Phase(Code.ATTN, load, "attn", n, heads=heads))
        else:
            self._emit(Phase(Code.ATTN, load, "part", n + 2 * heads.heads, heads=heads))
            if self.target.merge:
                self._emit(Phase(Code.FOLD, self._fresh(Load(n, "part")), "attn", n, heads=heads))
        fold = heads if not self.staged and not self.target.merge else None
        self._keep(node.outputs[0], Load(n, "part" if fold else "attn", fold=fold))

    def _experts(self, node: Node) -> None:
        scores, x, gates, ups, downs = node.inputs
        load, store = self._input(x)
        attrs = node.attrs
        width = self._width(gates, axis=1)
        route = Route(
            self._width(scores),
            self.graph.size(cast("str", attrs["A"])),
            attrs["score"] == "sigmoid",
            bool(attrs["renorm"]),
        )
        act = _ACTS[cast("str", attrs["act"])]
        self._checked(scores)
        up = Phase(Code.EXPERTS_UP, load, "moe", width, store, (gates, ups), (), (width, width))
        self._emit(replace(up, act=act, route=route))
        hidden = self._fresh(Load(width, "moe"))
        self._made(node, Phase(Code.EXPERTS_DOWN, hidden, "", 0, weights=(downs,), route=route))

    def _sample(self, phase: Phase) -> None:
        """Keys over the ranks where the vocabulary is divided, then the draw."""
        load = self._fresh(Load(phase.n, "logits", wanted=True))
        if self.ranks > 1:
            self._emit(Phase(Code.KEYS, load, "keys", 4, reduce=True))
            load = self._fresh(Load(4, "keys", wanted=True))
        self._emit(Phase(Code.SAMPLE, load, "tokens", 1))

    # -- what joins -------------------------------------------------------------------------

    def _prologue(self, node: Node) -> None:
        q, k, _, pos, freq, state, _, *norms = node.inputs
        if pos != "pos":
            raise self._unsupported(node, f"turns by {pos}", "turn q and k by the batch's pos")
        shape = self.graph.values[q].shape
        heads, head = self.graph.size(str(shape[1])), self.graph.size(str(shape[2]))
        both = [Norm(w, cast("float", node.attrs[self._eps(j)])) for j, w in enumerate(norms)]
        q_norm, k_norm = (*both, None, None)[:2]
        made = Heads(
            heads=heads,
            kv_heads=self.graph.size(str(self.graph.values[k].shape[1])),
            head=head,
            state=self.graph.buffer_of(state),
            freq=freq,
            scale=1.0,
            mscale=cast("float", node.attrs["mscale"]),
            q_norm=q_norm,
            k_norm=k_norm,
        )
        self._prologues[node.outputs[0]] = Prologue(q, made, frozenset())

    def _eps(self, position: int) -> str:
        norms = [part for part in FUSED["qk_norm_rope_kv"].parts if part.op == "rmsnorm"]
        return norms[position].attrs["eps"]

    def _norm(self, node: Node) -> None:
        load = self._checked(node.inputs[0])
        if load.norm is not None or load.fold is not None:
            raise self._unsupported(node, "norms what is normed already", "put a linear between")
        made = replace(load, norm=Norm(node.inputs[1], cast("float", node.attrs["eps"])))
        self.loads[node.outputs[0]] = made

    def _add(self, node: Node) -> None:
        x, y = sorted((self._checked(name) for name in node.inputs), key=lambda load: not load.base)
        if not x.base or y.base or x.terms or x.norm or not y.terms:
            raise self._unsupported(
                node, "is no sum of the residual stream and one branch", "add branches one by one"
            )
        self.loads[node.outputs[0]] = replace(
            x, terms=y.terms, post=y.norm, versions=(x.versions[0], y.versions[1])
        )

    def _take(self, node: Node) -> None:
        load = self._checked(node.inputs[0])
        self.loads[node.outputs[0]] = replace(load, take=True, wanted=True)

    def _same(self, node: Node) -> None:
        self.loads[node.outputs[0]] = self._checked(node.inputs[0])

    # -- where an output goes ---------------------------------------------------------------

    def _made(self, node: Node, phase: Phase) -> Phase:
        """Completes and emits a phase whose output may be a branch of the residual stream."""
        scale, cap, value = self._epilogue(node.outputs[0])
        width = self._width(value)
        phase = replace(phase, n=width, rows=(width,), scale=scale, cap=cap)
        total, direct, reduce = self._sum_of(value)
        if total is None:
            return self._plain(phase, value)
        index, trunk = total
        x = self.loads.get(trunk)
        if (
            direct
            and not self.target.lazy
            and x is not None
            and x == self._fresh(Load(width, x.base))
            and x.base not in (phase.load.base, phase.store)  # which other workers still read
        ):
            phase = replace(phase, out=x.base, add=True)
            self._emit(phase)
            self.joined.add(index)
            self._keep(self.graph.nodes[index].outputs[0], Load(width, x.base))
            return phase
        phase = replace(phase, out=f"t{self._branches % 2}", terms=True, reduce=reduce)
        self._branches += 1
        self._emit(phase)
        self._keep(value, Load(width, terms=phase.out))
        return phase

    def _plain(self, phase: Phase, value: str) -> Phase:
        readers = [self.graph.nodes[i].op for i in self.graph.readers.get(value, ())]
        out = (
            "logits"
            if value in self.graph.outputs
            else "scores"
            if readers == ["route_experts"]
            else "y"
        )
        phase = replace(phase, out=out)
        self._emit(phase)
        self._keep(value, Load(phase.n, out))
        return phase

    def _epilogue(self, value: str) -> tuple[float, float, str]:
        """Factor and soft cap that follow a value at once, and the value after them."""
        scale, cap = 1.0, 0.0
        while True:
            readers = self.graph.readers.get(value, ())
            after = self.graph.nodes[readers[0]] if len(readers) == 1 else None
            if after is None or value in self.graph.outputs or cap:
                return scale, cap, value
            if after.op == "scale":
                scale *= cast("float", after.attrs["by"])
            elif after.op == "softcap":
                cap = cast("float", after.attrs["cap"])
            else:
                return scale, cap, value
            self.joined.add(readers[0])
            value = after.outputs[0]

    def _sum_of(self, value: str) -> tuple[tuple[int, str] | None, bool, bool]:
        """The residual sum a value goes to: its node and the other operand; at once; over ranks."""
        direct, reduce = True, False
        while True:
            readers = self.graph.readers.get(value, ())
            if len(readers) != 1:
                return None, direct, reduce
            node = self.graph.nodes[readers[0]]
            if node.op == "add":
                other = node.inputs[1] if node.inputs[0] == value else node.inputs[0]
                return (readers[0], other), direct, reduce
            if node.op not in ("rmsnorm", "allreduce"):
                return None, direct, reduce
            direct, reduce = False, reduce or node.op == "allreduce"
            value = node.outputs[0]

    # -- buffers ----------------------------------------------------------------------------

    def _input(self, value: str) -> tuple[Load, str]:
        """How a phase reads a value, and where it keeps the residual sum made on the way.

        In prefill a PREP phase does both and the phase reads its rows.
        """
        if self._prepared is not None and self._prepared[0] == value:
            load = self._prepared[1]
            if load.versions == self._versions(load):
                return load, ""
        load = self._checked(value)
        store = ""
        if load.terms and not load.take:
            store = "x0" if load.base == "x1" else "x1"
        plain = load == self._fresh(Load(load.width, load.base))
        if self.prepared and (self.target.stage_plain or not plain):
            self._emit(Phase(Code.PREP, load, "h", load.width, store))
            self._settle(load, store)
            load = self._fresh(Load(load.width, "h", staged=True, wanted=load.wanted))
            self._prepared = value, load
            return load, ""
        self._settle(load, store)
        return load, store

    def _settle(self, load: Load, store: str) -> None:
        """Recipes that would make the same sum read the stored one from now on."""
        if not store:
            return
        self._written[store] = self._written.get(store, 0) + 1
        for name, other in self.loads.items():
            if (other.base, other.terms, other.versions) == (load.base, load.terms, load.versions):
                self.loads[name] = self._fresh(replace(other, base=store, terms="", post=None))

    def _emit(self, phase: Phase) -> None:
        self.phases.append(phase)
        self._written[phase.out] = self._written.get(phase.out, 0) + 1

    def _keep(self, value: str, load: Load) -> None:
        self.loads[value] = self._fresh(load)

    def _fresh(self, load: Load) -> Load:
        return replace(load, versions=self._versions(load))

    def _versions(self, load: Load) -> tuple[int, int]:
        return self._written.get(load.base, 0), self._written.get(load.terms, 0)

    def _checked(self, value: str) -> Load:
        """The recipe of a value whose buffers nobody has written since."""
        load = self.loads.get(value)
        node = self.graph.nodes[self._at]
        if load is None:
            raise self._unsupported(
                node, f"reads {value}, which no phase makes", "see docs/mega-plan.md"
            )
        if load.versions != self._versions(load):
            raise self._unsupported(
                node, f"reads {value} after its buffer was written again", "reorder the branches"
            )
        return load

    @property
    def ranks(self) -> int:
        """Ranks a sharded graph was cut for."""
        return max(self.graph.divided.values(), default=1)

    def _width(self, value: str, axis: int = -1) -> int:
        shape = self.graph.values[value].shape
        if axis == -1:
            shape = shape[1:]
            total = 1
            for entry in shape:
                total *= self.graph.dims.size(entry) or 1
            return total
        return self.graph.dims.size(shape[axis]) or 1

    def _unsupported(self, node: Node, message: str, hint: str) -> Unsupported:
        place = self.graph.place(self.graph.nodes.index(node))
        return Unsupported(f"mega: {node.op} {message}", at=place, hint=hint)
