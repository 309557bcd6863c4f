"""The definition that a graph's node calls for: same signature, same constants, no name of its own.

A table looks definitions up by signature (`schema.sig`), so that a norm with another epsilon is
another definition whatever it is called.
"""

from __future__ import annotations

from collections.abc import Mapping

from treadle.errors import TreadleError
from treadle.graph import Graph, Node
from treadle.kernels.definitions.derive import define
from treadle.kernels.definitions.public import gqa_decode
from treadle.kernels.schema import Definition

GEMM = {"T": "M", "O": "N", "I": "K", "x": "A", "w": "B", "y": "C"}

# op -> operands as definitions have them (None: as declared), and which sizes of which operand's
# shape, counted from the right, are which letters
_ROWS: dict[str, tuple[str | None, Mapping[str, tuple[int, int]]]] = {
    "rmsnorm": (None, {"D": (1, -1)}),
    "add": ("x: T D; y: T D", {"D": (0, -1)}),
    "scale": ("x: T D", {"D": (0, -1)}),
    "softcap": ("x: T V", {"V": (0, -1)}),
    "glu": (None, {"F": (0, -1)}),
    "add_rmsnorm": (None, {"D": (2, -1)}),
    "linear_add": (None, {"O": (1, -2), "I": (1, -1)}),
    "gate_up_glu": (None, {"F": (1, -2), "D": (1, -1)}),
}


def gemm_view(n: int, k: int, act: str) -> Definition:
    """x · wᵀ for w [n, k], as every matrix product of a model is known."""
    return define("linear", "gemm", {"O": n, "I": k}, act=act, op_type="gemm", names=GEMM)


def decode_view(heads: int, kv_heads: int, d: int, page: int, act: str) -> Definition | None:
    """Attention of one query a sequence over pages; None where no public signature fits."""
    if d != 128 or act != "bf16":
        return None
    return gqa_decode(heads, kv_heads, page)


def node_view(graph: Graph, node: Node, act: str) -> Definition | None:
    """The definition of a node over rows [T, …]; None for an op or a rank that has none."""
    if node.op == "linear":
        _, w, *bias = node.inputs
        if bias:
            return None
        n, k = _sizes(graph, w)
        return gemm_view(n, k, act)
    if node.op == "attention":
        if node.attrs["window"] or node.attrs["softcap"]:
            return None
        pool = graph.values[graph.buffer_of(node.inputs[1])].shape
        _, _, page, kv_heads, d = (graph.dims.size(entry) or 0 for entry in pool)
        heads = graph.dims.size(graph.values[node.inputs[0]].shape[1]) or 0
        return decode_view(heads, kv_heads, d, page, act)
    known = _ROWS.get(node.op)
    first = node.inputs[0]
    if known is None or first not in graph.values or len(graph.values[first].shape) != 2:
        return None
    operands, letters = known
    shapes = [_sizes(graph, name) for name in node.inputs]
    sizes = {letter: shapes[i][dim] for letter, (i, dim) in letters.items()}
    try:
        return define(
            node.op, node.op, sizes, act=act, attrs=node.attrs, operands=operands,
            optional=len(node.inputs) > 3 and node.op == "linear_add",
        )  # fmt: skip
    except TreadleError:
        return None  # an attr of the node has no place in a definition


def _sizes(graph: Graph, name: str) -> tuple[int, ...]:
    """Sizes of a value or param; 0 for a run-time one."""
    found = graph.params.get(name) or graph.values[name]
    return tuple(graph.dims.size(entry) or 0 for entry in found.shape)
