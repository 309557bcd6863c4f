"""A graph as text for people: shapes, bytes and flops of every node, totals by op."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Mapping

from treadle.graph.cost import DECODE, Cost, cost
from treadle.graph.ir import Graph, Node, Param, Value


def dump(graph: Graph, run: Mapping[str, int] | None = None) -> str:
    """One line a node; bytes and flops at the run-time sizes `run` (default: one decoded token)."""
    sizes = {**DECODE, **(run or {})}
    at = " ".join(f"{name}={size}" for name, size in sizes.items())
    lines = [f"graph {graph.name}, stage {graph.stage}, {len(graph.nodes)} nodes, costs at {at}"]
    lines.append("dims   " + " ".join(_dim(graph, name) for name in graph.dims))
    if graph.divided:
        lines.append("cut    " + " ".join(f"{n}/{ways}" for n, ways in graph.divided.items()))
    lines += [f"param  {_typed(graph, value)}" for value in graph.params.values()]
    lines += [f"state  {_typed(graph, value)}" for value in graph.state.values()]
    total = Cost(0.0, 0.0)
    by_op: dict[str, tuple[int, Cost]] = defaultdict(lambda: (0, Cost(0.0, 0.0)))
    for index, node in enumerate(graph.nodes):
        spent = cost(graph, node, sizes)
        count, so_far = by_op[node.op]
        by_op[node.op] = (count + 1, so_far + spent)
        total += spent
        lines.append(f"{index:5d}  {_node(graph, node)}  {_cost(spent)}".rstrip())
    lines.append("output " + ", ".join(_typed(graph, graph.values[n]) for n in graph.outputs))
    for op, (count, spent) in sorted(by_op.items(), key=lambda item: -item[1][1].bytes):
        lines.append(f"{count:5d} x {op:<22} {_cost(spent)}".rstrip())
    lines.append(f"total  {_cost(total)}")
    return "\n".join(lines)


def debug_dump(graph: Graph) -> None:
    """Writes the dump to stderr if TREADLE_DEBUG lists `graph`; loading a model calls it."""
    switches = os.environ.get("TREADLE_DEBUG", "").split(",")
    if "graph" in (switch.strip() for switch in switches):
        sys.stderr.write(dump(graph) + "\n")


def _dim(graph: Graph, name: str) -> str:
    value = graph.dims[name]
    if isinstance(value, tuple):
        return f"{name}={'*'.join(map(str, value))}={graph.dims.size(name)}"
    return name if value is None else f"{name}={value}"


def _typed(graph: Graph, value: Value) -> str:
    shape = ", ".join(graph.dims.show(entry) for entry in value.shape)
    fmt = f" as {value.format}" if isinstance(value, Param) and value.format != value.dtype else ""
    return f"{value.name}: {value.dtype}[{shape}]{fmt}"


def _node(graph: Graph, node: Node) -> str:
    outs = ", ".join(_typed(graph, graph.values[name]) for name in node.outputs)
    attrs = "".join(f" {name}={_attr(value)}" for name, value in node.attrs.items())
    return f"{outs} = {node.op}({', '.join(node.inputs)}){attrs}"


def _attr(value: object) -> str:
    return "(" + " ".join(map(str, value)) + ")" if isinstance(value, tuple) else str(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _cost(spent: Cost) -> str:
    parts = [_si(spent.bytes, "B")] if spent.bytes else []
    parts += [_si(spent.flops, "flop")] if spent.flops else []
    return "  " + ", ".join(parts) if parts else ""


def _si(number: float, unit: str) -> str:
    for prefix in ("", "k", "M", "G", "T"):
        if number < 1000 or prefix == "T":
            break
        number /= 1000
    return f"{number:.4g} {prefix}{unit}"
