"""From planned slices to the arrays a backend reads: `Batch` and `SampleBatch`."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import numpy as np

from treadle.engine.request import Sequence
from treadle.engine.scheduler import Slice
from treadle.types import Batch, SampleBatch

Rows = list[Sequence | None]
_I32 = np.int32
_F32 = np.float32


def build_batch(plan: SequenceOf[Slice], size: int) -> tuple[Batch, Rows]:
    """The ragged batch of a plan, and whose token each logits row draws.

    A step in which no sequence draws still asks for one row, owned by nobody: so every step is
    waited for, and reports errors, in the same way. `size` = tokens a page.
    """
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
    depth = max(-(-length // size) for length in lens)
    table = np.zeros((len(plan), depth), _I32)  # [S, L]
    for i, part in enumerate(plan):
        used = -(-lens[i] // size)
        table[i, :used] = part.seq.page_table[:used]
    batch = Batch(
        ids=np.array(ids, _I32),
        pos=np.array(pos, _I32),
        slots=np.array(slots, _I32),
        starts=np.array(starts, _I32),
        lens=np.array(lens, _I32),
        table=table,
        rows=np.array(wanted, _I32),
    )
    return batch, rows


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
