"""The CPU tier: mega's plans for one worker and for several, run by `cpp/cpu` in WebAssembly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from treadle import _core
from treadle.errors import Unsupported
from treadle.export.tier import Tier
from treadle.mega import CPU, Plan, compile, to_bytes
from treadle.mega.records import NONE, Code

if TYPE_CHECKING:
    from treadle.export.shards import Weight
    from treadle.graph import Graph

FILE = "tasks.cpu.bin"
ROWS = (16, 64)
"""Rows of the plans: a few, where every linear repeats its norm, and a prefill's chunk."""

WORKERS = (1, 2, 4)
"""Threads of a page: those that it can have, and no more than share a memory well."""

SLOTS, SEGMENT, ALIGN = 8, 256, 64
_MATRIX = (Code.EMBED, Code.LINEAR, Code.EXPERTS_UP, Code.EXPERTS_DOWN)


def tier_cpu(graph: Graph, table: Mapping[str, Weight], context: int) -> Tier:
    """Plans of every bucket in one file, and what binds them to weights and KV pages.

    record: `params` in the plans' order, each [name, "matrix" or "vector"], or null where no plan
    reads it; `states` [KV heads, head size] a layer; `plans` {workers, rows, slots, offset,
    length, buffers} (the last for the check alone). Raises Unsupported for a format that no
    kernel multiplies with, GraphError.
    """
    made = [
        compile(
            graph, replace(CPU, workers=workers), rows=rows, slots=SLOTS, context=context,
            segment=SEGMENT,
        )
        for workers in WORKERS
        for rows in ROWS
    ]  # fmt: skip
    matrices, vectors = _used(made)
    params: list[list[str] | None] = []
    for number, name in enumerate(graph.params):
        if number in matrices:
            _multiplied(name, table[name])
        use = "matrix" if number in matrices else "vector" if number in vectors else None
        params.append(None if use is None else [name, use])
    states = [[graph.dims.size(axis) for axis in s.shape[3:]] for s in graph.state.values()]
    data = bytearray()
    plans: list[dict[str, Any]] = []
    for number, plan in enumerate(made):
        data += bytes(-len(data) % ALIGN)
        one = to_bytes(plan)
        plans.append({
            "workers": WORKERS[number // len(ROWS)],
            "rows": plan.shape.rows, "slots": plan.shape.slots,
            "offset": len(data), "length": len(one),
            "buffers": [[b.name, b.offset, b.size] for b in plan.buffers],
        })  # fmt: skip
        data += one
    record = {"file": FILE, "params": params, "states": states, "plans": plans}
    arena = max(plan.shape.arena for plan in made) * 16
    kv = sum(4 * heads * size for heads, size in states if heads and size)
    packed = sum(_packed(table[p[0]]) for p in params if p and p[1] == "matrix")
    return Tier(record, {FILE: bytes(data)}, {"weights": packed, "arena": arena, "kv_token": kv})


def _used(plans: Iterable[Plan]) -> tuple[set[int], set[int]]:
    """Numbers of the params that plans multiply with (or look up), and of those read as vectors."""
    sites = [site for plan in plans for site in plan.sites]
    matrices = {number for site in sites if site.op in _MATRIX for number in site.w}
    vectors = {
        number
        for s in sites
        for number in (*s.b, s.norm, s.post, s.q_norm, s.k_norm, s.freq)
    }  # fmt: skip
    return matrices - {NONE}, vectors - {NONE}


def _packed(weight: Weight) -> int:
    rows = weight.rows // weight.experts
    return _core.cpu_packed_bytes(weight.format, rows, weight.cols) * weight.experts


def _multiplied(name: str, weight: Weight) -> None:
    try:
        _packed(weight)
    except _core.CoreError as error:
        raise Unsupported(
            f"{weight.format} [{weight.rows}, {weight.cols}]: {error}", at=f"param {name}",
            hint="export a file in another format, or without the tier cpu",
        ) from None  # fmt: skip
