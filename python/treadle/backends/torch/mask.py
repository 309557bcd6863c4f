"""Token masks applied to logits on any device, by rows or by ids of a table on the device.

Bit t % 32 of word t / 32 says whether token t is legal; illegal tokens get minus infinity. Four
ways of doing it, one result: `native` (C++, CPU), `torch` (any device), `triton`, `cuda`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import importlib
import importlib.util
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch

from treadle.errors import InvalidRequest, Unsupported

Way = Literal["native", "torch", "triton", "cuda"]

NO_MASK = -1  # an id: leave the logits alone
STAGED = -2  # an id: take the staging row at the same position

_INT32 = torch.int32
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True)
class Job:
    """What the device kernels are given: checked, and every tensor on one device.

    logits [n, V] with adjacent elements; table int32 [m, W]; staging int32 [k, W] or None; ids
    int32 [r] or None (then the mask row is the logits row); index int32 [r] or None (then position
    i is logits row i). `positions` is r.
    """

    logits: Any
    table: Any
    staging: Any
    ids: Any
    index: Any
    positions: int
    keep_beyond: bool


def apply_mask(
    logits: Any,
    rows: Any,
    index: Sequence[int] | Any | None = None,
    *,
    width: int | None = None,
    keep_beyond: bool = False,
    way: Way | None = None,
) -> None:
    """Mask row r goes to logits row r, for every r of `index` (default: all rows), in place.

    Shapes: logits float32, float16 or bfloat16 [n, V] or [V]; rows int32 [m, W] or [W] on the same
    device. `width`: look at the first `width` logits only. Logits beyond the 32 * W bits of a row
    become minus infinity, or stay with `keep_beyond`. `way`: default, the fastest for the device.
    Row numbers and ids in tensors are not checked: that would wait for the device. Raises
    InvalidRequest, Unsupported.
    """
    table = _rows(rows, "rows")
    view = _logits(logits, width)
    if index is None and table.shape[0] < view.shape[0]:
        raise InvalidRequest(f"{table.shape[0]} rows for {view.shape[0]} logits", at="rows")
    where = None if index is None else _numbers(index, view, "index", table.shape[0])
    positions = view.shape[0] if where is None else where.shape[0]
    _run(Job(view, table, None, None, where, positions, keep_beyond), way)


def apply_mask_ids(
    logits: Any,
    table: Any,
    ids: Sequence[int] | Any,
    *,
    staging: Any = None,
    index: Sequence[int] | Any | None = None,
    width: int | None = None,
    keep_beyond: bool = False,
    way: Way | None = None,
) -> None:
    """Position i takes `table[ids[i]]`: -1 is no mask, -2 row i of `staging`.

    It goes to logits row `index[i]` (default: i). Shapes, the other arguments and errors are those
    of `apply_mask`; ids and index are lists, or int32 tensors that are already on the device.
    """
    view = _logits(logits, width)
    rows = _rows(table, "table")
    spare = None if staging is None else _rows(staging, "staging")
    if spare is not None and spare.shape[1] != rows.shape[1]:
        raise InvalidRequest("staging and table differ in width", at="staging")
    if not isinstance(ids, torch.Tensor):
        _check_ids(ids, rows.shape[0], 0 if spare is None else spare.shape[0])
    chosen = _numbers(ids, view, "ids", None)
    where = None if index is None else _numbers(index, view, "index", None)
    if (view.shape[0] if where is None else where.shape[0]) < chosen.shape[0]:
        raise InvalidRequest("fewer rows than ids", at="ids" if where is None else "index")
    _run(Job(view, rows, spare, chosen, where, chosen.shape[0], keep_beyond), way)


class MaskTable:
    """Dense mask rows on the device, each uploaded once; the least recently used give way.

    Shapes: `rows` int32 [count, W]. A row's key is anything hashable, such as the core's mask id.
    """

    def __init__(self, count: int, size: int, device: str | torch.device) -> None:
        if count < 1 or size < 1:
            raise InvalidRequest("count and size must be positive", at="MaskTable")
        self.rows = torch.zeros((count, (size + 31) // 32), dtype=_INT32, device=device)
        self._slots: OrderedDict[Any, int] = OrderedDict()
        self._free = list(range(count - 1, -1, -1))

    def ids(self, keys: Sequence[Any], fetch: Callable[[Any], Any]) -> list[int]:
        """The id of each key's row for one step; `fetch(key)` gives a row int32 [W] to upload.

        None as a key is NO_MASK. Rows of this step are never evicted by it: a key for which no
        row is left gets STAGED, and the caller stages its mask.
        """
        out: list[int] = []
        used: set[Any] = {key for key in keys if key is not None and key in self._slots}
        for key in used:
            self._slots.move_to_end(key)
        fresh: dict[int, Any] = {}
        for key in keys:
            slot = NO_MASK if key is None else self._slots.get(key)
            if slot is None:
                slot = self._take(used)
                if slot != STAGED:
                    self._slots[key] = slot
                    used.add(key)
                    fresh[slot] = torch.as_tensor(fetch(key), dtype=_INT32)
            out.append(slot)
        if fresh:  # one transfer a step, however many rows are new
            block = torch.stack(list(fresh.values()))
            where = torch.tensor(list(fresh), dtype=torch.int64)
            device = self.rows.device
            self.rows.index_copy_(0, where.to(device), block.to(device))
        return out

    def _take(self, used: set[Any]) -> int:
        if self._free:
            return self._free.pop()
        oldest = next(iter(self._slots), None)
        if oldest is None or oldest in used:
            return STAGED
        return self._slots.pop(oldest)


def ways(device: str) -> list[Way]:
    """What can be used for logits on a device of this type, the fastest first."""
    if device == "cpu":
        return ["native", "torch"]
    if device != "cuda":
        return ["torch"]
    cuda: list[Way] = ["cuda"] if _module("mask_cuda").available() else []
    triton: list[Way] = ["triton"] if importlib.util.find_spec("triton") else []
    return [*triton, *cuda, "torch"]


@cache
def _usual(device: str) -> Way:
    if device == "cuda":
        return "triton" if importlib.util.find_spec("triton") else "torch"
    return "native" if device == "cpu" else "torch"


@cache
def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__.rpartition('.')[0]}.{name}")


def _run(job: Job, way: Way | None) -> None:
    kind = job.logits.device.type
    chosen = _usual(kind) if way is None else way
    if job.positions == 0 or job.logits.shape[1] == 0:
        return
    if chosen == "torch":
        _torch(job)
    elif chosen == "native" and kind == "cpu":
        _native(job)
    elif chosen == "triton" and kind == "cuda":
        _module("mask_triton").run(job)
    elif chosen == "cuda" and kind == "cuda":
        _module("mask_cuda").run(job)
    else:
        raise Unsupported(f"{chosen!r} on {kind}", at="way", hint=f"one of {ways(kind)}")


def _native(job: Job) -> None:
    grammar = importlib.import_module("treadle.grammar")
    index = None if job.index is None else job.index.tolist()
    if job.ids is None:
        grammar.apply_mask(job.logits, job.table, index, keep_beyond=job.keep_beyond)
        return
    ids = job.ids.tolist()
    grammar.apply_mask_ids(
        job.logits, job.table, ids, staging=job.staging, index=index, keep_beyond=job.keep_beyond
    )


def _torch(job: Job) -> None:
    rows = _effective(job)  # [r, W]
    bits = torch.arange(32, dtype=_INT32, device=rows.device)
    illegal = ((rows[:, :, None] >> bits) & 1 == 0).flatten(1)  # [r, 32 W]
    width = job.logits.shape[1]
    covered = min(width, illegal.shape[1])
    part = job.logits[:, : covered if job.keep_beyond else width]
    if part.shape[1] > covered:
        beyond = _unmasked(job, rows)[:, None].expand(-1, part.shape[1] - covered)
        illegal = torch.cat((illegal, ~beyond), 1)
    illegal = illegal[:, : part.shape[1]]
    if job.index is None:
        part[: job.positions].masked_fill_(illegal, -torch.inf)
    else:
        where = job.index.long()
        part[where] = part[where].masked_fill_(illegal, -torch.inf)


def _unmasked(job: Job, rows: Any) -> Any:
    """bool [r]: positions whose id is NO_MASK."""
    if job.ids is None:
        return torch.zeros(rows.shape[0], dtype=torch.bool, device=rows.device)
    return job.ids == NO_MASK


def _effective(job: Job) -> Any:
    """int32 [r, W]: the mask row of each position, all ones for NO_MASK."""
    if job.ids is None:
        return job.table[: job.positions] if job.index is None else job.table[job.index.long()]
    rows = job.table[job.ids.clamp_min(0).long()]
    if job.staging is not None:
        staged = job.staging[: job.positions]
        if staged.shape[0] < job.positions:
            short = job.positions - staged.shape[0]
            staged = torch.nn.functional.pad(staged, (0, 0, 0, short))
        rows = torch.where((job.ids == STAGED)[:, None], staged, rows)
    return rows.masked_fill((job.ids == NO_MASK)[:, None], -1)


def _logits(logits: Any, width: int | None) -> Any:
    if logits.dim() not in (1, 2) or logits.dtype not in _FLOATS:
        raise InvalidRequest(
            f"got {logits.dtype} {list(logits.shape)}", at="logits", hint="give floats [n, V]"
        )
    view = logits if logits.dim() == 2 else logits[None]
    if view.shape[1] > 1 and view.stride(1) != 1:
        raise InvalidRequest("the elements of a row must be adjacent", at="logits")
    if width is None:
        return view
    if not 0 <= width <= view.shape[1]:
        raise InvalidRequest(f"{width} of {view.shape[1]} logits", at="width")
    return view[:, :width]


def _rows(rows: Any, at: str) -> Any:
    tensor = rows if isinstance(rows, torch.Tensor) else torch.from_dlpack(rows)
    if tensor.dtype != _INT32 or tensor.dim() not in (1, 2):
        raise InvalidRequest(f"got {tensor.dtype} {list(tensor.shape)}", at=at, hint="int32 [m, W]")
    view = tensor if tensor.dim() == 2 else tensor[None]
    if view.shape[1] > 1 and view.stride(1) != 1:
        raise InvalidRequest("the words of a row must be adjacent", at=at)
    return view


def _check_ids(ids: Sequence[int], rows: int, staged: int) -> None:
    for i, number in enumerate(ids):
        if number == NO_MASK or 0 <= number < rows or (number == STAGED and i < staged):
            continue
        raise InvalidRequest(f"id {number} has no row", at=f"ids[{i}]")


def _numbers(values: Any, logits: Any, at: str, rows: int | None) -> Any:
    """int32 [r] on the device of the logits; lists of row numbers are checked first."""
    if isinstance(values, torch.Tensor):
        if values.dim() != 1:
            raise InvalidRequest("expected one axis", at=at)
        return values.to(device=logits.device, dtype=_INT32, non_blocking=True)
    most = min(logits.shape[0], logits.shape[0] if rows is None else rows)
    if at == "index" and not all(0 <= value < most for value in values):
        raise InvalidRequest(f"a row is outside 0 to {most - 1}", at=at)
    return torch.tensor(values, dtype=_INT32).to(logits.device, non_blocking=True)
