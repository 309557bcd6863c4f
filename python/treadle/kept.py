"""Files of a cache: each carries a hash of itself, is written whole or not at all, and takes no
memory where it is mapped and nobody looks."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from treadle.digest import blake2b

if TYPE_CHECKING:
    from pathlib import Path

_SIZE = 32  # bytes of the hash in front


def seal(body: bytes) -> bytes:
    """The bytes with a hash in front."""
    return blake2b(body, digest_size=_SIZE).digest() + body


def unseal(data: bytes | mmap.mmap) -> memoryview | None:
    """What `seal` was given, as a view; None for bytes that it did not make."""
    body = memoryview(data)[_SIZE:]
    return body if blake2b(body, digest_size=_SIZE).digest() == data[:_SIZE] else None


def write(folder: Path, name: str, data: bytes, most: int) -> None:
    """Puts a file into a folder of at most so many, the oldest of which go. A full or read-only
    disk costs only the time that the file would have saved."""
    import tempfile

    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        handle, made = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(made, folder / name)
        for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-most]:
            old.unlink()


def give_back_pages(data: memoryview) -> None:
    """Tells the system that no page of the mapped file behind `data` is needed for now; those that
    are, another thread's among them, are mapped again at no great cost. All of them, since a fault
    maps as much around it as the system likes: 64 KiB, or the whole of a large folio. Memory of any
    other kind is left alone."""
    base: Any = data.obj
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
