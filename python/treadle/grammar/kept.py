"""Files of what one process found out about a vocabulary, for the next: see `Compiler.save`.

The core writes and checks the blocks; this decides where they lie and whose they may be.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from treadle import _core

LARGEST = 1 << 28  # bytes of a file that is read at all


def build() -> str:
    """The build of the core: another one may draw other conclusions from the same grammar."""
    core = os.stat(_core.__file__)
    return f"{core.st_size}-{core.st_mtime_ns}"


def place(folder: str | os.PathLike[str], vocab: str) -> Path:
    """The file of a vocabulary, by its hash."""
    return Path(folder) / f"masks-{vocab}.bin"


def read(folder: str | os.PathLike[str], vocab: str) -> bytes:
    """The block; empty if there is none, or if anybody else could have written it."""
    try:
        handle = os.open(place(folder, vocab), os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return b""
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST:
            return b""
        if hasattr(os, "getuid"):
            others = stat.S_IWGRP | stat.S_IWOTH
            if about.st_uid != os.getuid() or about.st_mode & others:
                return b""
        return file.read(LARGEST)


def write(folder: str | os.PathLike[str], vocab: str, block: bytes) -> None:
    """Replaces the file: a reader sees the old one or the new one, never a part. Raises OSError."""
    path = place(folder, vocab)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(block)
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise
