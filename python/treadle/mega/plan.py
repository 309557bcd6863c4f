"""A plan: what a number of workers execute, in memory and as `plan.json` + `tasks.bin`."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from treadle.errors import ModelFormatError
from treadle.mega.records import FORMATS, NONE, Counter, Segment, Site, Task, pack, unpack

MAGIC, VERSION = b"TMEG", 1
SECTION = 64
"""Sections of tasks.bin start at multiples of so many bytes."""

_HEADER = struct.Struct("<4s 23I 32x")
_MOST = 1 << 22
_FIELDS = (
    "arena", "rows", "slots", "context", "page", "segment", "ranks", "tile_k", "weights", "states",
    "logits_off", "logits_stride", "tokens_off", "vocab", "group",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Buffer:
    """A named part of the arena. offset and size in bytes."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a plan. arena, offsets and strides in 16 B units; segment and page in positions."""

    arena: int
    rows: int
    slots: int
    context: int
    page: int
    segment: int
    ranks: int
    tile_k: int
    weights: int
    states: int
    logits_off: int
    logits_stride: int
    tokens_off: int
    vocab: int
    group: int


@dataclass(frozen=True, slots=True)
class Plan:
    """One bucket's plan; the same for every rank. index[s][w] .. index[s][w + 1] are worker w's
    tasks of segment s."""

    graph: str
    target: str
    shape: Shape
    workers: int
    segments: tuple[Segment, ...]
    index: tuple[tuple[int, ...], ...]
    counters: tuple[Counter, ...]
    sites: tuple[Site, ...]
    tasks: tuple[Task, ...]
    buffers: tuple[Buffer, ...]
    params: tuple[str, ...]
    states: tuple[str, ...]

    def list_of(self, worker: int) -> Iterator[Task]:
        """A worker's tasks of one step in order, repeats written out."""
        for segment, bounds in zip(self.segments, self.index, strict=True):
            mine = self.tasks[bounds[worker] : bounds[worker + 1]]
            for r in range(segment.repeat):
                for task in mine:
                    yield shifted(task, r * segment.site_stride, r * segment.counter_stride)


def shifted(task: Task, sites: int, counters: int) -> Task:
    """A template's task in a later layer."""
    if not sites and not counters:
        return task

    def later(counter: int) -> int:
        return counter if counter == NONE else counter + counters

    return replace(
        task,
        p0=task.p0 + sites,
        wait0=later(task.wait0),
        wait1=later(task.wait1),
        sig=later(task.sig),
    )


def to_bytes(plan: Plan) -> bytes:
    """tasks.bin."""
    lists = (plan.segments, plan.counters, plan.sites, plan.tasks)
    counts = (len(plan.segments), len(plan.counters), len(plan.sites), len(plan.tasks))
    numbers = [getattr(plan.shape, name) for name in _FIELDS]
    out = bytearray(_HEADER.pack(MAGIC, VERSION, plan.workers, *counts, *numbers, 0, 0))
    segments, *rest = (b"".join(map(pack, records)) for records in lists)
    index = b"".join(struct.pack(f"<{len(row)}I", *row) for row in plan.index)
    for section in (segments, index, *rest):
        out += bytes(-len(out) % SECTION) + section
    return bytes(out)


def write(plan: Plan, folder: Path) -> None:
    """Writes plan.json and tasks.bin into a folder that exists."""
    data = to_bytes(plan)
    (folder / "tasks.bin").write_bytes(data)
    (folder / "plan.json").write_text(json.dumps(_about(plan, data), indent=1, sort_keys=True))


def read(folder: Path) -> Plan:
    """The plan in a folder. Raises ModelFormatError naming file and field; nothing is trusted."""
    place = str(folder / "plan.json")
    try:
        about: object = json.loads((folder / "plan.json").read_text())
        data = (folder / "tasks.bin").read_bytes()
    except (OSError, ValueError) as error:
        raise ModelFormatError(f"cannot be read: {error}", at=place) from None
    if not isinstance(about, dict):
        raise ModelFormatError("is no object", at=place, hint="compile the plan again")
    return from_bytes(data, cast("dict[str, Any]", about), at=str(folder))


def from_bytes(data: bytes, about: Mapping[str, Any], at: str = "tasks.bin") -> Plan:
    """A plan from tasks.bin and the object of plan.json. Raises ModelFormatError."""
    if len(data) < _HEADER.size:
        raise _bad(f"has {len(data)} bytes, its header alone has {_HEADER.size}", at)
    magic, version, workers, *numbers = _HEADER.unpack_from(data)
    if (magic, version) != (MAGIC, VERSION):
        raise _bad(f"is {magic!r} version {version}, expected {MAGIC!r} version {VERSION}", at)
    counts = numbers[:4]
    if not 0 < workers < 1 << 16 or max(counts) > _MOST:
        raise _bad(f"claims {workers} workers and {counts} records", at)
    reader = _Sections(data, _HEADER.size, at)
    segments = reader.records(Segment, counts[0])
    flat = reader.numbers(counts[0] * (workers + 1))
    index = tuple(flat[s * (workers + 1) : (s + 1) * (workers + 1)] for s in range(counts[0]))
    counters = reader.records(Counter, counts[1])
    sites = reader.records(Site, counts[2])
    tasks = reader.records(Task, counts[3])
    if reader.at != len(data):
        raise _bad(f"has {len(data) - reader.at} bytes behind its last section", at)
    for row in index:
        if list(row) != sorted(row) or row[-1] > len(tasks):
            raise _bad("index runs backwards or past the tasks", at)
    written = sum(s.repeat * (row[-1] - row[0]) for s, row in zip(segments, index, strict=True))
    if written > _MOST or any(not 0 < s.repeat < _MOST for s in segments):
        raise _bad(f"writes out to {written} tasks", at)
    shape = Shape(**dict(zip(_FIELDS, numbers[4:], strict=False)))
    names = _names(about, data, at)
    return Plan(
        names["graph"], names["target"], shape, workers, segments, index, counters, sites, tasks,
        names["buffers"], names["params"], names["states"],
    )  # fmt: skip


def _about(plan: Plan, data: bytes) -> dict[str, Any]:
    return {
        "treadle_plan": VERSION,
        "graph": plan.graph,
        "target": plan.target,
        "shape": asdict(plan.shape),
        "buffers": [[b.name, b.offset, b.size] for b in plan.buffers],
        "params": list(plan.params),
        "states": list(plan.states),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _names(about: Mapping[str, Any], data: bytes, at: str) -> dict[str, Any]:
    """The named parts of plan.json, checked."""
    if about.get("treadle_plan") != VERSION:
        raise _bad(f"plan.json is version {about.get('treadle_plan')!r}, expected {VERSION}", at)
    if about.get("sha256") != hashlib.sha256(data).hexdigest():
        raise _bad("tasks.bin is not the one plan.json belongs to", at)
    try:
        buffers = tuple(
            Buffer(str(name), int(offset), int(size)) for name, offset, size in about["buffers"]
        )
        return {
            "graph": str(about["graph"]),
            "target": str(about["target"]),
            "buffers": buffers,
            "params": tuple(str(name) for name in about["params"]),
            "states": tuple(str(name) for name in about["states"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise _bad(f"plan.json is malformed: {error!r}", at) from None


_Record = TypeVar("_Record", Task, Site, Counter, Segment)


class _Sections:
    """Reads sections in order; every length is checked against the file first."""

    def __init__(self, data: bytes, at: int, place: str) -> None:
        self.data, self.at, self.place = data, at, place

    def take(self, size: int) -> memoryview:
        start = self.at + -self.at % SECTION
        if start + size > len(self.data):
            raise _bad(
                f"ends at {len(self.data)}, a section needs bytes to {start + size}", self.place
            )
        self.at = start + size
        return memoryview(self.data)[start : self.at]

    def records(self, kind: type[_Record], count: int) -> tuple[_Record, ...]:
        size = FORMATS[kind].size
        view = self.take(size * count)
        return tuple(unpack(kind, view[i * size : (i + 1) * size]) for i in range(count))

    def numbers(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self.take(4 * count))


def _bad(message: str, at: str) -> ModelFormatError:
    return ModelFormatError(message, at=at, hint="compile the plan again")
