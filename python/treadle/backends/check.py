"""What a backend refuses before it touches memory: indices of a step that point nowhere.

The engine never sends such a step; these checks turn a bug there into an error instead of another
sequence's keys. They cost a handful of numpy reductions a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from treadle.errors import InvalidRequest, LimitExceeded
from treadle.types import Batch, Mask, SampleBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from treadle.limits import Limits

_HINT = "the scheduler must send consistent steps"


def checked_batch(
    batch: Batch, *, pages: int, page_size: int, vocab: int, drawn: int, limits: Limits
) -> Batch:
    """A copy of `batch` whose indices all lie inside the pool, the vocabulary and the step.

    `drawn` = rows of the previous TokenFuture, which ids of -1-j may name. Raises InvalidRequest
    naming the array, or LimitExceeded for more tokens or sequences than the limits allow.
    """
    arrays = {name: np.array(getattr(batch, name), np.int32) for name in Batch.__struct_fields__}
    b = Batch(**arrays)
    T, S, R = len(b.ids), len(b.lens), len(b.rows)
    if limits.batch_tokens < T:
        raise LimitExceeded("batch_tokens", T, limits.batch_tokens, hint=_HINT)
    if limits.sequences < S:
        raise LimitExceeded("sequences", S, limits.sequences, hint=_HINT)
    _require("ids", T > 0 and b.ids.ndim == 1, "a step has at least one token")
    _require("pos", b.pos.shape == (T,), f"one position for each of {T} tokens")
    _require("slots", b.slots.shape == (T,), f"one slot for each of {T} tokens")
    _require("table", b.table.ndim == 2 and len(b.table) == S, f"a row for each of {S} sequences")
    _within("ids", b.ids, -drawn, vocab)
    _within("slots", b.slots, 0, pages * page_size)
    # np.unique would import numpy.ma, as much time as a step of a small model.
    _require("slots", bool(np.diff(np.sort(b.slots)).all()), "two tokens share a slot")
    _within("table", b.table, 0, pages)
    _within("pos", b.pos, 0, 1 << 30)
    _within("rows", b.rows, 0, T)
    _require("rows", R < 2 or bool((np.diff(b.rows) > 0).all()), "indices must ascend")
    _check_sequences(b, T, S, b.table.shape[1] * page_size)
    return b


def _check_sequences(b: Batch, T: int, S: int, room: int) -> None:
    ends = b.starts
    _require("starts", ends.shape == (S + 1,), f"{S + 1} offsets for {S} sequences")
    counts = np.diff(ends)
    covered = S > 0 and ends[0] == 0 and ends[-1] == T
    _require("starts", bool(covered and (counts > 0).all()), f"must rise from 0 to {T}")
    _require("lens", bool((b.lens >= counts).all()), "a sequence is shorter than its new tokens")
    _require("lens", int(b.lens.max()) <= room, f"a sequence is longer than its {room} table slots")


def checked_mask(mask: Mask, rows: int) -> Mask:
    """`mask` as arrays over its memory, unless it names logits rows that do not exist. Raises
    InvalidRequest."""
    bits, named = np.asarray(mask.bits), np.asarray(mask.rows)
    _require("mask.bits", bits.ndim == 2 and bits.dtype == np.int32, "int32 [N, W] is expected")
    _require("mask.rows", named.shape == (len(bits),), f"one row number for each of {len(bits)}")
    _within("mask.rows", named, 0, rows)
    _require("mask.rows", bool(np.diff(np.sort(named)).all()), "a row is masked twice")
    return Mask(bits, named)


def checked_params(params: SampleBatch, rows: int, vocab: int) -> SampleBatch:
    """A copy of `params` whose lists fit `rows` and `vocab`. Raises InvalidRequest."""
    arrays: dict[str, NDArray[Any]] = {
        name: np.array(getattr(params, name)) for name in SampleBatch.__struct_fields__
    }
    for name in _PER_ROW:
        _require(name, arrays[name].shape == (rows,), f"one value for each of {rows} rows")
    for kind, others in (("bias", ("bias_ids", "bias_values")), ("pen", ("pen_ids", "pen_out"))):
        ends = arrays[f"{kind}_ptr"]
        _require(f"{kind}_ptr", ends.shape == (rows + 1,), f"{rows + 1} offsets are expected")
        sizes = {len(arrays[other]) for other in others}
        rising = ends[0] == 0 and bool((np.diff(ends) >= 0).all()) and {int(ends[-1])} == sizes
        _require(f"{kind}_ptr", rising, f"must rise from 0 to the {kind} lists' length")
        _within(f"{kind}_ids", arrays[f"{kind}_ids"], 0, vocab)
    return replace(params, **arrays)


_PER_ROW = tuple(
    name for name in SampleBatch.__struct_fields__ if not name.startswith(("bias_", "pen_"))
)


def _within(name: str, values: NDArray[Any], low: int, high: int) -> None:
    if values.size and not (low <= int(values.min()) and int(values.max()) < high):
        raise InvalidRequest(
            f"values {values.min()} to {values.max()} leave [{low}, {high})", at=name, hint=_HINT
        )


def _require(name: str, holds: bool, message: str) -> None:
    if not holds:
        raise InvalidRequest(message, at=name, hint=_HINT)
