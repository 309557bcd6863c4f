"""embed: rows of the token table."""

from __future__ import annotations

from typing import Any

from treadle.graph.checks import in_range
from treadle.graph.op import op, parallel, whole

embed = op(
    "embed",
    ins={"table": "V D", "ids": "T i32"},
    outs={"x": "T D"},
    roles={"T": parallel, "D": parallel, "V": whole},
    touched={"table": "T * D"},
    blocks=("table",),
)


@embed.reference
def _(xp: Any, table: Any, ids: Any) -> Any:
    """table [V, D], ids [T] -> x [T, D]. Raises GraphError for an id outside [0, V)."""
    in_range(ids, table.shape[0], "embed", "ids", "V")
    return xp.take(table, ids, axis=0)
