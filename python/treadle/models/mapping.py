"""Read-only mapping of a file into memory."""

from __future__ import annotations

import mmap
from pathlib import Path

from treadle.errors import ModelFormatError, NotFound


def map_file(path: Path) -> mmap.mmap:
    """The whole file; arrays made over it keep it mapped. Raises NotFound, ModelFormatError."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise NotFound("no such file", at=str(path)) from None
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise ModelFormatError(f"cannot be mapped: {error}", at=str(path)) from None
