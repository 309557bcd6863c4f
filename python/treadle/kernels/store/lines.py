"""JSON Lines files: appended under a lock, flushed, and healed of a torn last line."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from treadle.errors import InvalidRequest

MAX_LINE = 64 << 20
_BLOCK = 1 << 20


class Line(NamedTuple):
    """One line without its newline, and where it lies."""

    offset: int
    data: bytes


def append(path: Path, row: bytes, *, flush: bool = True) -> int:
    """Writes one line and returns its offset. Blocks while another process writes the file.

    A last line without newline is what a crash in mid-write leaves: it is cut off first. flush:
    the line has reached the disk on return. Raises InvalidRequest for a row with a newline.
    """
    if b"\n" in row or len(row) > MAX_LINE:
        raise InvalidRequest("a row is one line of at most 64 MiB", at=str(path), hint="shorten it")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        offset = _heal(handle)
        left = memoryview(row + b"\n")
        while left:
            left = left[os.write(handle, left) :]
        if flush:
            os.fdatasync(handle)
        return offset
    finally:
        os.close(handle)  # gives the lock back too


def torn(path: Path) -> int:
    """Bytes of an unfinished last line; 0 if there is none."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        return size - _end(file.fileno(), size)


def lines(path: Path, start: int = 0) -> Iterator[Line]:
    """Whole lines from byte `start` on; empty lines and a torn last one are left out."""
    with path.open("rb") as file:
        file.seek(start)
        offset = start
        while True:
            data = file.readline(MAX_LINE + 1)
            if not data.endswith(b"\n"):
                if len(data) > MAX_LINE:
                    raise InvalidRequest(
                        "a line is longer than 64 MiB", at=f"{path} byte {offset}", hint="split it"
                    )
                return
            if data.strip():
                yield Line(offset, data[:-1])
            offset += len(data)


def line_at(path: Path, offset: int, length: int) -> bytes:
    """The bytes of one line."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _heal(handle: int) -> int:
    size = os.fstat(handle).st_size
    end = _end(handle, size)
    if end < size:
        os.ftruncate(handle, end)
    return end


def _end(handle: int, size: int) -> int:
    """Offset behind the last newline."""
    stop = size
    while stop:
        start = max(0, stop - _BLOCK)
        found = os.pread(handle, stop - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        stop = start
    return 0
