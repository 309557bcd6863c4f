"""Packed token masks: bit t % 32 of word t / 32 says whether token t is legal."""

from __future__ import annotations

import importlib
from typing import Any, TypeAlias

from treadle import _core

# int32 [n, W]: MaskRows, or any writable CPU object with the buffer protocol or DLPack.
Rows: TypeAlias = Any


class MaskRows(_core.MaskRows):
    """int32 [n, ceil(V / 32)], zeroed, offered through the buffer protocol."""

    def array(self) -> Any:
        """The same memory as a numpy array, int32 [n, ceil(V / 32)]. Needs numpy."""
        return importlib.import_module("numpy").asarray(memoryview(self))  # pyright: ignore


def mask_rows(n: int, size: int) -> MaskRows:
    """`n` rows for a vocabulary of `size` tokens."""
    return MaskRows(n, size)
