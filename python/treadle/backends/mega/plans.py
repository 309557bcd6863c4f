"""The plans of a graph on this CPU: one a bucket of rows, kept on disk between runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import treadle.mega
from treadle.errors import TreadleError
from treadle.mega import CPU, Plan, read, write
from treadle.mega.target import DECODE_ROWS, PREFILL_ROWS
from treadle.models.wheel import cache_dir

if TYPE_CHECKING:
    from treadle.graph import Graph

SEGMENT = 256
"""Positions that one worker attends at a time; the same in every bucket."""

_KEPT = 128  # plans on disk; the oldest go


def plans(graph: Graph, *, threads: int, tokens: int, slots: int, context: int) -> list[Plan]:
    """Plans for steps of up to `tokens` rows, smallest first.

    A worker's share follows the rows that a batch really has, so two buckets do: few rows, where
    every worker repeats the norms, and many, where each norm is computed once. slots: sequences a
    step, at most; context: positions of one. Raises GraphError, Unsupported.
    """
    few = DECODE_ROWS[-1]
    many = next((rows for rows in PREFILL_ROWS if rows >= tokens), PREFILL_ROWS[-1])
    return [
        _plan(graph, rows, threads, min(slots, rows), context)
        for rows in ((few, many) if tokens > few else (few,))
    ]


def _plan(graph: Graph, rows: int, threads: int, slots: int, context: int) -> Plan:
    words = [_compiler(), graph.hash, *map(str, (rows, threads, slots, context, SEGMENT))]
    key = hashlib.sha256("/".join(words).encode()).hexdigest()[:32]
    folder = cache_dir() / "plans" / key
    try:
        found = read(folder)
    except TreadleError:  # none yet, or one that was damaged
        from treadle.mega import compile

        found = compile(
            graph, replace(CPU, workers=threads), rows=rows, slots=slots, context=context,
            segment=SEGMENT,
        )  # fmt: skip
        _keep(found, folder)
    return found


@cache
def _compiler() -> str:
    """Names the compiler by its text: another one may make other plans from the same graph."""
    found = hashlib.sha256()
    for path in sorted(Path(str(treadle.mega.__file__)).parent.glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def _keep(plan: Plan, folder: Path) -> None:
    """Writes a plan whole or not at all; a full or read-only disk costs only the next start."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent))
        write(plan, made)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(made, folder)
        kept = sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in kept[:-_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError:
        return
