"""The verifier's rules: one small function each, with an id, a name and the stages it holds in."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import TypeAlias

from msgspec import Struct

from treadle.errors import GraphError
from treadle.graph.dims import Shape
from treadle.graph.fusion import FUSED
from treadle.graph.ir import INPUTS, STAGES, Graph, place
from treadle.graph.op import OPS
from treadle.graph.partial import Flows
from treadle.graph.run import steps_of
from treadle.types.formats import BLOCKS, PLAIN


class Fault(Struct, frozen=True):
    """One broken rule: node index (None = the graph itself), value, what is wrong, the remedy."""

    node: int | None
    value: str
    message: str
    remedy: str


Check: TypeAlias = Callable[[Graph], Iterator[Fault]]


class Rule(Struct, frozen=True):
    """`id name`: its check and the stages it belongs to."""

    id: str
    name: str
    stages: tuple[str, ...]
    check: Check


RULES: list[Rule] = []
"""All rules in the order they run: later ones may rely on earlier ones."""


def rule(text: str, *stages: str) -> Callable[[Check], Check]:
    """Registers a rule: "id name", and the stages it holds in (none = every stage)."""

    def register(check: Check) -> Check:
        name, title = text.split(" ", 1)
        RULES.append(Rule(name, title, stages or STAGES, check))
        return check

    return register


@rule("G01 ops")
def known_ops(graph: Graph) -> Iterator[Fault]:
    """Every node is an op or a fused composition."""
    for index, node in enumerate(graph.nodes):
        if node.op not in OPS and node.op not in FUSED:
            yield Fault(
                index, _first(node.outputs), f"comes from {node.op!r}, no op", "name a known op"
            )


@rule("G02 names")
def single_assignment(graph: Graph) -> Iterator[Fault]:
    """Every value is made once."""
    seen: set[str] = set()
    for table in (graph.inputs, graph.params, graph.state):
        for key, value in table.items():
            if key != value.name or key in seen:
                yield Fault(None, value.name, "stands twice among the graph's values", "rename one")
            seen.add(key)
    for index, node in enumerate(graph.nodes):
        for name in node.outputs:
            if name in seen:
                yield Fault(index, name, "is made a second time", "give this output a new name")
            seen.add(name)


@rule("G03 order")
def topological(graph: Graph) -> Iterator[Fault]:
    """Values are made before they are read."""
    made = {*graph.inputs, *graph.params, *graph.state}
    for index, node in enumerate(graph.nodes):
        for name in node.inputs:
            if name not in made:
                later = graph.producers.get(name)
                where = "by nothing" if later is None else f"only by node {later}"
                yield Fault(
                    index,
                    name,
                    f"is read here and made {where}",
                    "move its maker before this node or correct the name",
                )
        made.update(node.outputs)


@rule("G04 dims")
def bound_dims(graph: Graph) -> Iterator[Fault]:
    """Every entry of a declared shape is a dim of the graph; cut dims are constants."""
    for table in (graph.inputs, graph.params, graph.state):
        known: set[Shape] = set()
        for value in table.values():
            if value.shape in known:
                continue
            known.add(value.shape)
            try:
                sizes = graph.dims.sizes(value.shape)
            except GraphError as error:
                yield Fault(None, value.name, error.message, error.hint or "correct its shape")
                continue
            if table is graph.params and None in sizes:
                yield Fault(None, value.name, "is a param of run-time size", "use constant dims")
    for name, ways in graph.divided.items():
        if not isinstance(graph.dims.get(name), int) or ways < 1:
            yield Fault(
                None, name, f"is cut {ways} ways and is no constant dim", "cut constants only"
            )


@rule("G06 attrs")
def complete_attrs(graph: Graph) -> Iterator[Fault]:
    """Attrs are exactly the declared ones, normalised, so that equal nodes have equal text."""
    seen: set[Hashable] = set()
    for index, node in enumerate(graph.nodes):
        key = (node.op, *((name, type(value), value) for name, value in node.attrs.items()))
        if key in seen:
            continue
        seen.add(key)
        complete = node.declared.check_attrs(node.attrs, graph.dims, graph.place(index))
        for name, value in complete.items():
            given = node.attrs.get(name)
            if given != value or type(given) is not type(value):
                yield Fault(
                    index,
                    _first(node.outputs),
                    f"has attr {name} = {given!r}, in normal form {value!r}",
                    "build nodes with Builder or check_attrs",
                )


@rule("G10 inputs")
def standard_inputs(graph: Graph) -> Iterator[Fault]:
    """Inputs are those a Batch carries."""
    for value in graph.inputs.values():
        if value.dtype != "i32" or INPUTS.get(value.name) != value.shape:
            yield Fault(
                None,
                value.name,
                f"is {value.dtype}[{', '.join(map(str, value.shape))}], which no Batch carries",
                f"inputs are {', '.join(INPUTS)}, all i32",
            )


@rule("G12 outputs")
def made_outputs(graph: Graph) -> Iterator[Fault]:
    """There is at least one output; outputs are distinct and made by nodes."""
    if not graph.outputs or len(set(graph.outputs)) != len(graph.outputs):
        listed = ", ".join(graph.outputs) or "none"
        yield Fault(None, listed, "are the outputs", "give at least one, each once")
    for name in graph.outputs:
        if name not in graph.producers:
            yield Fault(None, name, "is an output that no node makes", "name a node's output")


@rule("G05 shapes")
def operands_fit(graph: Graph) -> Iterator[Fault]:
    """Operands unify with every op's signature."""
    _ = graph.values  # raises G05 with node, operand, axis and both sizes
    yield from ()


@rule("G07 kv-linear")
def kv_linear(graph: Graph) -> Iterator[Fault]:
    """A KV version has one writer and no reader after the next write."""
    overwritten: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        for name in node.inputs:
            if name in overwritten:
                yield Fault(
                    index,
                    name,
                    f"was overwritten in place by node {overwritten[name]}",
                    "read the newest version, or move this node before the write",
                )
        declared = node.declared
        for source in declared.writes.values():
            overwritten[node.inputs[declared.in_names.index(source)]] = index


@rule("G08 kv-sealed")
def kv_sealed(graph: Graph) -> Iterator[Fault]:
    """Nothing but kv_write and attention looks inside a KV buffer, and they at nothing else."""
    buffers = graph.buffers
    for index, node in enumerate(graph.nodes):
        for operand, name in zip(node.declared.in_names, node.inputs, strict=False):
            if (operand == "kv") != (name in buffers):
                yield Fault(
                    index,
                    name,
                    f"is {'' if name in buffers else 'not '}KV and operand {operand} of {node.op}",
                    "kv_write and attention take a state's version as kv, nothing else takes one",
                )
    for name in graph.outputs:
        if name in buffers:
            yield Fault(None, name, "is KV and an output", "states come back by themselves")


@rule("G09 kv-fresh")
def kv_fresh(graph: Graph) -> Iterator[Fault]:
    """attention reads a version that this graph wrote, so that tokens see themselves."""
    for index, node in enumerate(graph.nodes):
        if node.op == "attention" and node.inputs[1] in graph.state:
            yield Fault(
                index,
                node.inputs[1],
                "is version 0, which lacks the tokens of this step",
                "pass the output of the layer's kv_write",
            )


@rule("G11 needed")
def all_needed(graph: Graph) -> Iterator[Fault]:
    """Every node, param and state serves an output or a KV version."""
    wanted = {*graph.outputs}
    for index in reversed(range(len(graph.nodes))):
        node = graph.nodes[index]
        if not wanted.intersection(node.outputs) and not node.declared.writes:
            yield Fault(
                index,
                _first(node.outputs),
                "is read by nothing and is no output",
                "remove the node, or use its result",
            )
        wanted.update(node.inputs)
    for table in (graph.params, graph.state):
        for name in table:
            if name not in wanted:
                yield Fault(None, name, "is read by nothing", "remove it, or use it")


@rule("G20 unsharded", "model")
def no_allreduce(graph: Graph) -> Iterator[Fault]:
    """Model files know nothing of ranks."""
    for index, node in enumerate(graph.nodes):
        if node.op == "allreduce":
            yield Fault(index, node.inputs[0], "meets an allreduce", "leave it to shard")
    for name in graph.divided:
        yield Fault(None, name, "is cut in an unsharded graph", "leave cutting to shard")


@rule("G21 unfused", "model", "sharded", "typed")
def no_fused(graph: Graph) -> Iterator[Fault]:
    """Compositions appear in the last pass only."""
    for index, node in enumerate(graph.nodes):
        if node.op in FUSED:
            message = f"comes from composition {node.op} before stage fused"
            yield Fault(index, _first(node.outputs), message, "write its parts; fuse comes last")


@rule("G30 partial", "sharded", "typed", "fused", "planned")
def no_partial_escapes(graph: Graph) -> Iterator[Fault]:
    """A sum over a cut axis passes an allreduce before anything that is not linear in it."""
    if not graph.divided and all(node.op != "allreduce" for node in graph.nodes):
        return
    flows = Flows({n: v.kind for n, v in graph.values.items()}, graph.dims, graph.divided)
    for index, node in enumerate(graph.nodes):
        for step in steps_of(node):
            found = flows.step(step)
            if found.fault:
                name = _first(step.ins)
                yield Fault(index, name, f"{found.fault} in {step.op.name}", "shard it anew")
            for position in found.summed:
                yield Fault(
                    index,
                    step.ins[position],
                    f"is a partial sum and meets {step.op.name}",
                    "put an allreduce between them",
                )
    for name in graph.outputs:
        if name in flows.partial:
            yield Fault(None, name, "is a partial sum and an output", "put an allreduce before it")


@rule("G40 formats", "typed", "fused", "planned")
def known_formats(graph: Graph) -> Iterator[Fault]:
    """Block formats only where an op reads whole rows of them, and only in whole blocks."""
    quantised = {name for name, param in graph.params.items() if param.format not in PLAIN}
    for index, node in enumerate(graph.nodes):
        if not quantised.intersection(node.inputs):
            continue
        for step in steps_of(node):
            for operand, name in zip(step.op.ins, step.ins, strict=False):
                if name not in quantised:
                    continue
                param = graph.params[name]
                if operand.name not in step.op.blocks:
                    yield Fault(
                        index,
                        name,
                        f"is stored as {param.format}, operand {operand.name} of {step.op.name} "
                        f"must be {' '.join(PLAIN)}",
                        "keep this param in a plain format",
                    )
                    continue
                columns, block = graph.dims.size(param.shape[-1]), BLOCKS[param.format][0]
                if columns is None or columns % block:
                    yield Fault(
                        index,
                        name,
                        f"has rows of {columns}, {param.format} comes in blocks of {block}",
                        "choose a format with smaller blocks",
                    )


@rule("G50 parts", "fused", "planned")
def parts_reproducible(graph: Graph) -> Iterator[Fault]:
    """A fused node expands to plain ops that make all it names, and hides nothing others read."""
    for index, node in enumerate(graph.nodes):
        if node.op not in FUSED:
            continue
        made: set[str] = set()
        for step in steps_of(node):
            made.update(step.outs)
        for name in node.outputs:
            if name not in made:
                yield Fault(index, name, "is made by no part", "correct the composition's outputs")
        for name in made.difference(node.outputs):
            if name in graph.values:
                yield Fault(index, name, "is an inner value and a value of the graph", "rename it")


def _first(names: tuple[str, ...]) -> str:
    return names[0] if names else "nothing"


def error(graph: Graph, broken: Rule, fault: Fault) -> GraphError:
    """The typed error: graph, node, value, rule and remedy."""
    at = f"graph {graph.name}"
    if fault.node is not None:
        at = place(graph.name, fault.node, graph.nodes[fault.node])
    message = f"{broken.id} {broken.name}: value {fault.value!r} {fault.message}"
    return GraphError(message, at=at, hint=fault.remedy)
