"""Whole datasets: merge one into another, export what a v1 reader loads."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from treadle.errors import InvalidRequest
from treadle.kernels.schema import Trace, pretty, read, refused_by_v1, write
from treadle.kernels.store.dataset import Dataset
from treadle.kernels.store.lines import append, lines


class Moved(NamedTuple):
    """How much was written, and what was left out."""

    definitions: int
    solutions: int
    lines: int
    left_out: int


def merge(target: Dataset, *sources: Dataset) -> Moved:
    """Adds what `target` lacks; equal rows are written once.

    Raises InvalidRequest where a name stands for different things, before anything of that kind
    is written.
    """
    definitions = solutions = rows = left_out = 0
    have = {one.name: one for one in target.solutions()}
    for source in sources:
        for name, one in source.definitions().items():
            old = target.definitions().get(name)
            if old is not None and old != one:
                raise InvalidRequest(f"definition {name!r} differs", hint="rename one")
        for one in source.solutions():
            if have.get(one.name, one) != one:
                raise InvalidRequest(f"solution {one.name!r} differs", hint="rename one")
    for source in sources:
        for name, one in source.definitions().items():
            if name not in target.definitions():
                target.add(one)
                definitions += 1
        for one in source.solutions():
            if one.name not in have:
                target.add(one)
                have[one.name] = one
                solutions += 1
        for path in source_lines(source.root):
            place = target.root / path.relative_to(source.root)
            seen = {data for _, data in lines(place)} if place.exists() else set[bytes]()
            for _, data in lines(path):
                row = write(read(Trace, data, str(path)))
                if row in seen or data in seen:
                    left_out += 1
                    continue
                append(place, row, flush=False)
                seen.add(row)
                rows += 1
    target.index.refresh()
    return Moved(definitions, solutions, rows, left_out)


def export(source: Dataset, folder: Path) -> Moved:
    """Writes what a v1 reader takes to a new folder, v1 keys only, and counts the rest.

    Raises InvalidRequest if the folder holds anything.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InvalidRequest("the folder is not empty", at=str(folder), hint="name a new folder")
    definitions = solutions = rows = left_out = 0
    dropped: set[str] = set()
    kept: set[str] = set()
    for name, one in source.definitions().items():
        if refused_by_v1(one):
            left_out += 1
            continue
        kept.add(name)
        _put(folder / "definitions" / one.op_type / f"{name}.json", write(one, strict=True))
        definitions += 1
    for one in source.solutions():
        if refused_by_v1(one) or one.definition not in kept:
            dropped.add(one.name)
            left_out += 1
            continue
        op_type = source.definition(one.definition).op_type
        path = folder / "solutions" / one.author / op_type / one.definition / f"{one.name}.json"
        _put(path, write(one, strict=True))
        solutions += 1
    for path in source_lines(source.root):
        place = path.relative_to(source.root)
        if place.parts[0] == "ext":
            left_out += sum(1 for _ in lines(path))
            continue
        for _, data in lines(path):
            trace = read(Trace, data, str(place))
            if trace.definition not in kept or trace.solution in dropped or refused_by_v1(trace):
                left_out += 1
                continue
            append(folder / place, write(trace, strict=True), flush=False)
            rows += 1
    return Moved(definitions, solutions, rows, left_out)


def source_lines(root: Path) -> list[Path]:
    """All JSON Lines files of a dataset."""
    folders = ("workloads", "traces", "ext/workloads", "ext/traces")
    return [p for folder in folders for p in sorted((root / folder).rglob("*.jsonl"))]


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pretty(data))
