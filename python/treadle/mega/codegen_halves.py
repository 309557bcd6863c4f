"""Strips of q, k and v cut in two along k where a group's workers cannot share whole ones evenly.

Attention adds the two parts of a head while it takes them from their packets. The plan deals whole
strips; only the kernel knows of the parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from treadle.mega.codegen_covers import COLUMNS
from treadle.mega.forms import BF16, Form
from treadle.mega.plan import Plan
from treadle.mega.records import Code, Task
from treadle.mega.tiles import WORTH

Tasks = list[list[Task]]
"""Of a phase, by worker."""


def halves(
    plan: Plan, order: Sequence[int], tasks: Sequence[Tasks], forms: Sequence[Form]
) -> dict[int, Tasks]:
    """Rows of the table whose strips are dealt in halves, and how. order: their sites."""
    found: dict[int, Tasks] = {}
    for row, (number, behind) in enumerate(pairwise(order)):
        attended = Code(plan.sites[behind].op) is Code.ATTN
        if not attended or Code(plan.sites[number].op) is not Code.LINEAR:
            continue
        tiles = -(-plan.sites[number].k // COLUMNS)
        if forms[number] is not BF16 or tiles < 2 or any(len(mine) != 1 for mine in tasks[row]):
            continue
        made = _dealt(tasks[row], plan.shape.group or plan.workers, tiles,
                      plan.shape.rows * plan.sites[number].out_stride)  # fmt: skip
        if _longest(made) <= WORTH * _longest(tasks[row]):
            found[row] = made
    return found


def _longest(tasks: Tasks) -> int:
    """Tiles of the worker that has most."""
    return max(sum(t.w_tiles * t.klen for t in mine) for mine in tasks)


def _dealt(tasks: Tasks, crew: int, tiles: int, step: int) -> Tasks:
    """Halves of each crew's strips, those of the first part of k first. step: units from a part's
    output to the next one's."""
    made: Tasks = []
    for first in range(0, len(tasks), crew):
        mine = [task for (task,) in tasks[first : first + crew]]
        strip0 = min(t.w_tile0 for t in mine)
        strips = sum(t.w_tiles for t in mine)
        for i, task in enumerate(mine):
            begin, end = 2 * strips * i // crew, 2 * strips * (i + 1) // crew
            own: list[Task] = []
            for part in range(2):
                low, high = max(begin - part * strips, 0), min(end - part * strips, strips)
                if high > low:
                    k0 = tiles // 2 * part
                    own.append(replace(
                        task, w_tile0=strip0 + low, w_tiles=high - low, k0=k0,
                        klen=tiles - k0 if part else tiles // 2, out_off=task.out_off + part * step,
                    ))  # fmt: skip
            made.append(own)
    return made
