"""The index of a dataset's lines: SQLite, derived, brought up to date by reading what is new.

A file is known by inode, size and a hash of its last bytes; where those still hold, only what was
appended is read, else the file is read anew. Rows point into the files, so objects stay there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from treadle.kernels.store.lines import lines

VERSION = 1
_TAIL = 4096

_TABLES = """
create table files(id integer primary key, path text unique, inode int, size int, tail text);
create table rows(
  file int, offset int, length int, definition text, uuid text, solution text,
  device text, status text, latency real, reference real, speedup real, axes text, error text);
create index by_definition on rows(definition, device, axes, latency);
create index by_file on rows(file);
create index by_run on rows(uuid, solution, device);
"""


class _Workload(msgspec.Struct):
    uuid: str
    axes: dict[str, int]


class _Environment(msgspec.Struct):
    hardware: str


class _Performance(msgspec.Struct):
    latency_ms: float = 0.0
    reference_latency_ms: float = 0.0
    speedup_factor: float = 0.0


class _Evaluation(msgspec.Struct):
    status: str
    environment: _Environment
    performance: _Performance | None = None


class _Row(msgspec.Struct):
    """The part of a trace that the index holds; the rest is skipped, not decoded."""

    definition: str
    workload: _Workload
    solution: str | None = None
    evaluation: _Evaluation | None = None


class Best(NamedTuple):
    """The fastest passing run of one workload shape on one device."""

    solution: str
    latency_ms: float
    speedup_factor: float
    file: str
    offset: int
    length: int


class Index:
    """Rows of the JSON Lines files below `folders` of a root."""

    def __init__(self, root: Path, path: Path | None, folders: tuple[str, ...]) -> None:
        self._root, self._folders = root, folders
        self._db = self._open(path)
        self._decoder = msgspec.json.Decoder(_Row)

    def close(self) -> None:
        """Closes the database."""
        self._db.close()

    def refresh(self) -> int:
        """Reads what is new; returns the number of rows added. Cheap if nothing changed."""
        known = {
            path: (number, inode, size, tail)
            for number, path, inode, size, tail in self._db.execute("select * from files")
        }
        added = 0
        with self._db:
            for path in self._files():
                name = str(path.relative_to(self._root))
                status = path.stat()
                number, inode, size, tail = known.pop(name, (None, 0, 0, ""))
                if number is not None and (inode, size) == (status.st_ino, status.st_size):
                    continue
                same = inode == status.st_ino and size <= status.st_size
                if number is None or not same or _tail(path, size) != tail:
                    number, size = self._forget(number, name), 0
                added += self._read(path, number, size, status.st_ino)
            for number, *_ in known.values():
                self._forget(number, None)
        return added

    def counts(self) -> dict[str, dict[str, int]]:
        """Definition → status (`workload` for workload rows) → rows."""
        found: dict[str, dict[str, int]] = {}
        query = (
            "select definition, coalesce(status, 'workload'), count(*) from rows"
            " where error is null group by 1, 2 order by 1, 2"
        )
        for definition, status, count in self._db.execute(query):
            found.setdefault(definition, {})[status] = count
        return found

    def errors(self) -> Iterator[tuple[str, int, str]]:
        """File, offset and message of lines that are no traces."""
        query = (
            "select path, offset, error from rows join files on files.id = file"
            " where error is not null order by path, offset"
        )
        yield from self._db.execute(query)

    def places(
        self, definition: str, *, workloads: bool, solution: str | None = None
    ) -> Iterator[tuple[str, int, int]]:
        """File, offset and length of a definition's workload rows, or of its traces."""
        query = (
            "select path, offset, length from rows join files on files.id = file"
            " where definition = ? and error is null and (status is null) = ?"
            " and (? is null or solution = ?) order by path, offset"
        )
        yield from self._db.execute(query, (definition, workloads, solution, solution))

    def best(self, definition: str, device: str, axes: Mapping[str, int]) -> Best | None:
        """The fastest passing run at exactly these axes, or None."""
        query = (
            "select solution, latency, speedup, path, offset, length from rows"
            " join files on files.id = file where definition = ? and device = ? and axes = ?"
            " and status = 'PASSED' order by latency, solution limit 1"
        )
        row = self._db.execute(query, (definition, device, _axes(axes))).fetchone()
        return None if row is None else Best(*row)

    def ran(self, uuid: str, solution: str, device: str) -> bool:
        """Whether a verdict on this solution, workload and device is there."""
        query = "select 1 from rows where uuid = ? and solution = ? and device = ? limit 1"
        return self._db.execute(query, (uuid, solution, device)).fetchone() is not None

    def _open(self, path: Path | None) -> sqlite3.Connection:
        if path is None:
            db = sqlite3.connect(":memory:")
            db.executescript(_TABLES)
            return db
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, timeout=30.0)
        try:
            version = db.execute("pragma user_version").fetchone()[0]
            if version == VERSION:
                return db
        except sqlite3.DatabaseError:
            pass
        db.close()  # from another version, or no database: derived, so made anew
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).unlink()
        db = sqlite3.connect(path, timeout=30.0)
        db.execute("pragma journal_mode = wal")
        db.executescript(f"begin; {_TABLES} pragma user_version = {VERSION}; commit;")
        return db

    def _files(self) -> Iterator[Path]:
        for folder in self._folders:
            base = self._root / folder
            if base.is_dir():
                yield from sorted(p for p in base.rglob("*.jsonl") if p.is_file())

    def _forget(self, number: int | None, name: str | None) -> int:
        if number is not None:
            self._db.execute("delete from rows where file = ?", (number,))
            self._db.execute("delete from files where id = ?", (number,))
        if name is None:
            return -1
        cursor = self._db.execute(
            "insert into files(path, inode, size, tail) values(?, 0, 0, '')", (name,)
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _read(self, path: Path, number: int, start: int, inode: int) -> int:
        end, added = start, 0

        def rows() -> Iterator[tuple[object, ...]]:
            nonlocal end, added
            for offset, data in lines(path, start):
                end, added = offset + len(data) + 1, added + 1
                yield (number, offset, len(data), *self._columns(data))

        marks = ", ".join("?" * 13)
        self._db.executemany(f"insert into rows values({marks})", rows())
        self._db.execute(
            "update files set inode = ?, size = ?, tail = ? where id = ?",
            (inode, end, _tail(path, end), number),
        )
        return added

    def _columns(self, data: bytes) -> tuple[object, ...]:
        try:
            row = self._decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
            return (None,) * 9 + (str(problem),)
        run = row.evaluation
        times = run.performance if run is not None else None
        return (
            row.definition,
            row.workload.uuid,
            row.solution,
            run.environment.hardware if run is not None else None,
            run.status if run is not None else None,
            times.latency_ms if times is not None else None,
            times.reference_latency_ms if times is not None else None,
            times.speedup_factor if times is not None else None,
            _axes(row.workload.axes),
            None,
        )


def _axes(axes: Mapping[str, int]) -> str:
    return json.dumps(dict(sorted(axes.items())), separators=(",", ":"))


def _tail(path: Path, size: int) -> str:
    """Hash of the last bytes before `size`: tells an appended file from a rewritten one."""
    with path.open("rb") as file:
        file.seek(max(0, size - _TAIL), os.SEEK_SET)
        return hashlib.sha256(file.read(min(size, _TAIL))).hexdigest()
