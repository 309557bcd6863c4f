"""Packed token masks: bit t % 32 of word t / 32 says whether token t is legal."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, TypeAlias

from treadle import _core
from treadle.grammar.translate import translate

# int32 [n, W]: MaskRows, RowView, or a writable CPU object with the buffer protocol or DLPack.
Rows: TypeAlias = Any


class MaskRows(_core.MaskRows):
    """int32 [n, ceil(V / 32)], zeroed, offered through the buffer protocol."""

    def array(self) -> Any:
        """The same memory as a numpy array, int32 [n, ceil(V / 32)]. Needs numpy."""
        return importlib.import_module("numpy").asarray(memoryview(self))  # pyright: ignore


def mask_rows(n: int, size: int) -> MaskRows:
    """`n` rows for a vocabulary of `size` tokens."""
    return MaskRows(n, size)


def apply_mask(
    logits: Any,
    rows: Rows,
    index: Sequence[int] | None = None,
    *,
    width: int | None = None,
    keep_beyond: bool = False,
) -> None:
    """Sets the logits of illegal tokens to minus infinity, in place.

    Shapes: logits float32, float16 or bfloat16 [n, V] or [V], writable and on the CPU (numpy,
    torch); rows int32 [m, W]. Mask row r goes to logits row r, for every r of `index` (default: all
    rows of `logits`). `width`: look at the first `width` logits only. Logits that lie beyond the
    32 * W bits of a row become minus infinity, or stay with `keep_beyond`. Raises TypeError for
    other buffers, InvalidRequest for a row that does not exist; then nothing was written.
    """
    try:
        _core.apply_mask(logits, rows, _listed(index), width, keep_beyond)
    except _core.CoreError as error:
        raise translate(error) from None


def apply_mask_ids(
    logits: Any,
    table: Rows,
    ids: Sequence[int],
    *,
    staging: Rows | None = None,
    index: Sequence[int] | None = None,
    width: int | None = None,
    keep_beyond: bool = False,
) -> None:
    """`apply_mask` with the rows of a table: position i takes `table[ids[i]]`.

    An id of -1 is no mask, -2 takes row i of `staging`. Position i goes to logits row `index[i]`
    (default: i). Buffers, the other arguments and errors are those of `apply_mask`.
    """
    try:
        _core.apply_mask_ids(logits, table, list(ids), staging, _listed(index), width, keep_beyond)
    except _core.CoreError as error:
        raise translate(error) from None


def _listed(index: Sequence[int] | None) -> list[int] | None:
    return None if index is None else list(index)
