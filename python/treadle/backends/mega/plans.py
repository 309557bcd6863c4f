"""The plans of a graph on this CPU: one a bucket of rows, kept on disk between runs."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import treadle
from treadle import kept
from treadle.digest import blake2b, sha256
from treadle.models.wheel import cache_dir

# The modules of treadle.mega describe records at length, which takes longer than reading a plan:
# they are imported when there is something to compile.

if TYPE_CHECKING:
    from collections.abc import Iterator

    from treadle.graph import Graph
    from treadle.mega import Plan

SEGMENT = 256
"""Positions that one worker attends at a time; the same in every bucket."""

_KEPT = 128  # plans on disk; the oldest go
_SIZE = 32  # bytes of a hash
_START = "start.bin"


class _Start(msgspec.Struct, frozen=True, array_like=True):
    """What a start needs of a plan beside tasks.bin, whose hash is `tasks`. The numbers are those
    of params."""

    tasks: bytes
    rows: int
    matrices: list[int]
    vectors: list[int]


class Bucket:
    """A plan as workers take it, and what it reads.

    rows: of a step, at most; data: the bytes of tasks.bin; matrices: numbers of the params it
    multiplies with; vectors: of those it reads as float32.
    """

    def __init__(self, folder: Path, start: _Start, data: bytes, plan: Plan | None = None) -> None:
        self.rows, self.data = start.rows, data
        self.matrices, self.vectors = frozenset(start.matrices), frozenset(start.vectors)
        self._folder, self._plan = folder, plan

    def take(self) -> bytes:
        """`data`, for the one that runs it: nobody else needs it any longer."""
        data, self.data = self.data, b""
        return data

    @property
    def plan(self) -> Plan:
        """The plan itself. Raises ModelFormatError if its folder is gone meanwhile."""
        from treadle.mega import read

        if self._plan is None:
            self._plan = read(self._folder)
        return self._plan


def buckets(graph: Graph, *, threads: int, tokens: int, slots: int, context: int) -> list[Bucket]:
    """Plans for steps of up to `tokens` rows, smallest first.

    A worker's share follows the rows that a batch really has, so two buckets do: few rows, where
    every worker repeats the norms, and many, where each norm is computed once. slots: sequences a
    step, at most; context: positions of one. Raises GraphError, Unsupported.
    """
    found: list[Bucket] = []
    for many, folder in _folders(graph.hash, threads, tokens, slots, context):
        bucket = _read(folder)
        if bucket is None:
            rows = _rows(tokens, many)
            bucket = _made(graph, folder, rows, threads, min(slots, rows), context)
        found.append(bucket)
        if bucket.rows >= tokens:
            break
    return found


def kept_buckets(
    graph: str, *, threads: int, tokens: int, slots: int, context: int
) -> list[Bucket] | None:
    """What `buckets` returns for the graph with this hash; None unless all of it is on disk."""
    found: list[Bucket] = []
    for _, folder in _folders(graph, threads, tokens, slots, context):
        bucket = _read(folder)
        if bucket is None:
            return None
        found.append(bucket)
        if bucket.rows >= tokens:
            break
    return found


def _folders(graph: str, *sizes: int) -> Iterator[tuple[bool, Path]]:
    """Where the plans of a graph's buckets lie: of few rows, of many."""
    words = [_compiler(), graph, *map(str, (*sizes, SEGMENT))]
    for many in (False, True):
        key = sha256("/".join([*words, str(many)]).encode()).hexdigest()[:32]
        yield many, cache_dir() / "plans" / key


def _rows(tokens: int, many: bool) -> int:
    """Rows of a bucket of few or of many."""
    from treadle.mega.target import DECODE_ROWS, PREFILL_ROWS

    if not many:
        return DECODE_ROWS[-1]
    return next((rows for rows in PREFILL_ROWS if rows >= tokens), PREFILL_ROWS[-1])


def _read(folder: Path) -> Bucket | None:
    """The plan that `_keep` wrote, or None: there is none yet, or it was damaged."""
    try:
        written = (folder / _START).read_bytes()
        data = (folder / "tasks.bin").read_bytes()
        body = kept.unseal(written)
        if body is None:
            return None
        start = msgspec.msgpack.decode(body, type=_Start)
    except (OSError, msgspec.DecodeError):
        return None
    return Bucket(folder, start, data) if start.tasks == _hash(data) else None


def _made(graph: Graph, folder: Path, rows: int, threads: int, slots: int, context: int) -> Bucket:
    from dataclasses import replace

    from treadle.mega import CPU, compile, to_bytes

    plan = compile(
        graph, replace(CPU, workers=threads), rows=rows, slots=slots, context=context,
        segment=SEGMENT,
    )  # fmt: skip
    data = to_bytes(plan)
    matrices, vectors = _used(plan)
    start = _Start(_hash(data), rows, sorted(matrices), sorted(vectors))
    _keep(plan, start, folder)
    return Bucket(folder, start, data, plan)


def _used(plan: Plan) -> tuple[set[int], set[int]]:
    """Numbers of the params that a plan multiplies with, and of those it reads as vectors."""
    from treadle.mega.records import NONE, Code

    products = (Code.EMBED, Code.LINEAR, Code.EXPERTS_UP, Code.EXPERTS_DOWN)
    matrices: set[int] = set()
    vectors: set[int] = set()
    for site in plan.sites:
        if site.op in products:
            matrices |= {*site.w}
        vectors |= {*site.b, site.norm, site.post, site.q_norm, site.k_norm, site.freq}
    return matrices - {NONE}, vectors - {NONE}


def _hash(data: bytes) -> bytes:
    return blake2b(data, digest_size=_SIZE).digest()


@cache
def _compiler() -> str:
    """Names the compiler by its text: another one may make other plans from the same graph."""
    found = sha256()
    folder = Path(str(treadle.__file__)).parent / "mega"
    for path in (Path(__file__), *sorted(folder.glob("*.py"))):
        found.update(path.read_bytes())
    return found.hexdigest()


def _keep(plan: Plan, start: _Start, folder: Path) -> None:
    """Writes a plan whole or not at all; a full or read-only disk costs only the next start."""
    import shutil
    import tempfile

    from treadle.mega import write

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent))
        write(plan, made)
        body = msgspec.msgpack.encode(start)
        (made / _START).write_bytes(kept.seal(body))
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(made, folder)
        found = sorted(folder.parent.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in found[:-_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError:
        return
