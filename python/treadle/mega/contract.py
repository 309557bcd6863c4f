"""The task contract of an op, read off the roles of its axes: how work is cut, what a cut reads.

A parallel axis maps one to one. A reduce axis needs its full extent, or gives partial sums that the
reader adds in a fixed order. A ragged axis makes tickets. A whole axis is never cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from treadle.errors import GraphError
from treadle.graph import OPS, Role
from treadle.mega.records import Code

Range = tuple[int, int]

CUTS: dict[Code, tuple[tuple[str, str, Role], ...]] = {
    Code.EMBED: (("embed", "T", Role.PARALLEL),),
    Code.PREP: (("rmsnorm", "n", Role.PARALLEL), ("add", "n", Role.PARALLEL)),
    Code.LINEAR: (("linear", "O", Role.PARALLEL), ("linear", "T", Role.PARALLEL)),
    Code.KV: (("kv_write", "T", Role.RAGGED), ("rope", "T", Role.PARALLEL)),
    Code.ATTN: (("attention", "T", Role.RAGGED), ("attention", "K", Role.PARALLEL)),
    Code.FOLD: (("attention", "H", Role.PARALLEL),),
    Code.EXPERTS_UP: (("experts", "T", Role.RAGGED), ("glu", "F", Role.PARALLEL)),
    Code.EXPERTS_DOWN: (("linear", "O", Role.PARALLEL),),
    Code.KEYS: (),
    Code.SAMPLE: (),
}
"""Along which axes of which ops the tasks of a phase cut, and the role that allows it."""


@dataclass(frozen=True, slots=True)
class Reads:
    """Ranges of each operand axis that a tile touches; partial: it holds only part of a sum."""

    operands: Mapping[str, Mapping[str, Range]]
    partial: bool


def check(code: Code, *, split_k: bool = False) -> None:
    """Raises GraphError where a declaration no longer allows the cut this compiler makes."""
    wanted = CUTS[code] + ((("linear", "I", Role.REDUCE),) if split_k else ())
    for name, axis, role in wanted:
        found = OPS[name].roles.get(axis)
        if found is not role:
            raise GraphError(
                f"{code.name} cuts {name} along {axis}, whose role is {found}, not {role}",
                at="treadle.mega.contract",
                hint="change the cut with the declaration",
            )


def reads(name: str, sizes: Mapping[str, int], tile: Mapping[str, Range]) -> Reads:
    """What a tile of an op's output axes (and reduce axes) touches of every operand.

    sizes: extent of each axis. Raises GraphError where a role forbids the cut.
    """
    op = OPS[name]
    for axis in tile:
        if op.roles.get(axis) not in (Role.PARALLEL, Role.REDUCE) and tile[axis] != (
            0,
            sizes[axis],
        ):
            raise GraphError(f"{name} cannot be cut along {axis}", hint="give it the full extent")
    operands = {
        operand.name: {
            str(axis): tile.get(str(axis), (0, sizes[str(axis)])) for axis in operand.axes
        }
        for operand in (*op.ins, *op.outs)
    }
    partial = any(
        op.roles.get(axis) is Role.REDUCE and tile[axis] != (0, sizes[axis]) for axis in tile
    )
    return Reads(operands, partial)
