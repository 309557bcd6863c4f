"""From planned slices to the arrays a backend reads: `Batch` and `SampleBatch`."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import TYPE_CHECKING

import numpy as np

from treadle.engine.request import Sequence
from treadle.engine.scheduler import Slice
from treadle.types import Batch, SampleBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    I32 = NDArray[np.int32]

Rows = list[Sequence | None]
_I32 = np.int32
_F32 = np.float32


class Batches:
    """Builds the ragged batch of a step, `size` tokens a page; what steps of single tokens have in
    common is kept from one to the next."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: list[tuple[list[int], int]] = []  # pages of each row of the table, how many
        self._table: I32 = np.zeros((0, 0), _I32)
        self._count: I32 = np.arange(1, dtype=_I32)

    def build(self, plan: SequenceOf[Slice]) -> tuple[Batch, Rows]:
        """The batch of a plan, and whose token each logits row draws.

        A step in which no sequence draws still asks for one row, owned by nobody: so every step is
        waited for, and reports errors, in the same way.
        """
        if any(part.count != 1 or not part.draws for part in plan):
            return self._ragged(plan)
        size, count = self._size, len(plan)
        if len(self._count) != count + 1:
            self._count = np.arange(count + 1, dtype=_I32)
        ids: list[int] = []
        pos: list[int] = []
        slots: list[int] = []
        for part in plan:
            seq, start = part.seq, part.start
            ids.append(-1 - seq.row if seq.pending else seq.ids[start])
            pos.append(start)
            slots.append(seq.pages[start // size] * size + start % size)
        places = np.array(pos, _I32)
        batch = Batch(
            ids=np.array(ids, _I32),
            pos=places,
            slots=np.array(slots, _I32),
            starts=self._count,
            lens=places + 1,
            table=self._pages(plan),
            rows=self._count[:-1],
        )
        return batch, [part.seq for part in plan]

    def _ragged(self, plan: SequenceOf[Slice]) -> tuple[Batch, Rows]:
        size = self._size
        ids: list[int] = []
        pos: list[int] = []
        slots: list[int] = []
        starts: list[int] = [0]
        lens: list[int] = []
        wanted: list[int] = []
        rows: Rows = []
        for part in plan:
            seq, start, count = part.seq, part.start, part.count
            if count == 1:
                ids.append(-1 - seq.row if seq.pending else seq.ids[start])
                pos.append(start)
                page, offset = divmod(start, size)
                slots.append(seq.pages[page] * size + offset)
            else:
                at = np.arange(start, start + count, dtype=_I32)
                ids.extend(seq.ids[start : start + count])
                pos.extend(range(start, start + count))
                slots.extend((seq.page_table[at // size] * size + at % size).tolist())
            starts.append(len(ids))
            lens.append(start + count)
            if part.draws:
                wanted.append(len(ids) - 1)
                rows.append(seq)
        if not rows:
            wanted.append(len(ids) - 1)
            rows.append(None)
        batch = Batch(
            ids=np.array(ids, _I32),
            pos=np.array(pos, _I32),
            slots=np.array(slots, _I32),
            starts=np.array(starts, _I32),
            lens=np.array(lens, _I32),
            table=self._pages(plan),
            rows=np.array(wanted, _I32),
        )
        return batch, rows

    def _pages(self, plan: SequenceOf[Slice]) -> I32:
        """The table [S, L] of a plan; the last one as long as nobody has got or lost pages."""
        size, held = self._size, self._held
        used = [(part.seq.pages, -(-(part.start + part.count) // size)) for part in plan]
        same = len(used) == len(held) and all(
            a is b and n == m for (a, n), (b, m) in zip(used, held, strict=True)
        )
        if not same:
            table = np.zeros((len(plan), max(n for _, n in used)), _I32)
            for i, part in enumerate(plan):
                table[i, : used[i][1]] = part.seq.page_table[: used[i][1]]
            self._held, self._table = used, table
        return self._table


class Draws:
    """Builds the sampling parameters of a step; what no token changes is kept while rows stay."""

    def __init__(self) -> None:
        self._rows: Rows = []
        self._fixed: SampleBatch | None = None

    def build(self, rows: Rows) -> SampleBatch:
        """Parameters of each row; rows that nobody owns any more draw greedily."""
        fixed = self._fixed
        if fixed is None or rows != self._rows:
            fixed = self._fixed = _fixed_part(rows)
            self._rows = list(rows)
        step = np.array([0 if seq is None else seq.generated for seq in rows], _I32)
        pen_ptr, pen_ids, pen_out = fixed.pen_ptr, fixed.pen_ids, fixed.pen_out
        if any(seq is not None and seq.counts is not None for seq in rows):
            pen_ptr, pen_ids, pen_out = _penalties(rows)
        return SampleBatch(
            temperature=_temperatures(rows, fixed.temperature),
            top_k=fixed.top_k,
            top_p=fixed.top_p,
            min_p=fixed.min_p,
            presence=fixed.presence,
            frequency=fixed.frequency,
            repetition=fixed.repetition,
            key=fixed.key,
            step=step,
            logprobs=fixed.logprobs,
            bias_ptr=fixed.bias_ptr,
            bias_ids=fixed.bias_ids,
            bias_values=fixed.bias_values,
            pen_ptr=pen_ptr,
            pen_ids=pen_ids,
            pen_out=pen_out,
        )


def _fixed_part(rows: Rows) -> SampleBatch:
    params = [None if seq is None else seq.sampling for seq in rows]
    biases = [{} if p is None else p.logit_bias for p in params]
    return SampleBatch(
        temperature=np.array([0.0 if p is None else p.temperature for p in params], _F32),
        top_k=np.array([0 if p is None else p.top_k for p in params], _I32),
        top_p=np.array([1.0 if p is None else p.top_p for p in params], _F32),
        min_p=np.array([0.0 if p is None else p.min_p for p in params], _F32),
        presence=np.array([0.0 if p is None else p.presence_penalty for p in params], _F32),
        frequency=np.array([0.0 if p is None else p.frequency_penalty for p in params], _F32),
        repetition=np.array([1.0 if p is None else p.repetition_penalty for p in params], _F32),
        key=np.array([0 if seq is None else seq.key for seq in rows], np.uint64),
        step=np.zeros(len(rows), _I32),
        logprobs=np.array(
            [-1 if p is None or p.logprobs is None else p.logprobs for p in params], _I32
        ),
        bias_ptr=_pointers([len(bias) for bias in biases]),
        bias_ids=np.array([token for bias in biases for token in bias], _I32),
        bias_values=np.array([value for bias in biases for value in bias.values()], _F32),
        pen_ptr=np.zeros(len(rows) + 1, _I32),
        pen_ids=np.zeros(0, _I32),
        pen_out=np.zeros(0, _I32),
    )


def _temperatures(rows: Rows, asked: np.ndarray) -> np.ndarray:
    """Temperatures of the rows: what a rule of a row's grammar sets goes before what was asked."""
    out = asked
    for r, seq in enumerate(rows):
        ruled = None if seq is None or seq.matcher is None else seq.matcher.temperature
        if ruled is not None:
            out = asked.copy() if out is asked else out
            out[r] = ruled
    return out


def _penalties(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CSR lists of the tokens that count against each row: pointers, ids, counts in the output."""
    counts = [None if seq is None else seq.counts for seq in rows]
    kept = [c for c in counts if c is not None]
    return (
        _pointers([0 if c is None else c.used for c in counts]),
        np.concatenate([c.ids[: c.used] for c in kept]),
        np.concatenate([c.counts[: c.used] for c in kept]),
    )


def _pointers(lengths: list[int]) -> np.ndarray:
    pointers = np.zeros(len(lengths) + 1, _I32)
    np.cumsum(lengths, out=pointers[1:])
    return pointers
