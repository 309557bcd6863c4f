"""allreduce: the sum of a partial value over the ranks of a group, in rank order."""

from __future__ import annotations

from typing import Any

from treadle.graph.op import AttrSpec, op, parallel

allreduce = op(
    "allreduce",
    ins={"x": "*n"},
    outs={"y": "*n"},
    attrs={"group": AttrSpec("text", "tp")},
    roles={"n": parallel},
)


@allreduce.reference
def _(xp: Any, x: Any, *, group: str) -> Any:
    """x […] -> y […]. Alone, a rank is its whole group; `run_ranks` does the sum for several."""
    del xp, group
    return x
