"""From planned slices to the arrays a backend reads: `Batch` and `SampleBatch`."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from itertools import accumulate

from treadle.engine.request import Sequence
from treadle.engine.scheduler import Slice
from treadle.types import Batch, SampleBatch

Rows = list[Sequence | None]


class Batches:
    """Builds the ragged batch of a step, `size` tokens a page; what steps of single tokens have in
    common is kept from one to the next."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: list[tuple[list[int], int]] = []  # pages of each row of the table, how many
        self._table = memoryview(b"")
        self._count = _ints(range(1))

    def build(self, plan: SequenceOf[Slice]) -> tuple[Batch, Rows]:
        """The batch of a plan, and whose token each logits row draws.

        A step in which no sequence draws still asks for one row, owned by nobody: so every step is
        waited for, and reports errors, in the same way.
        """
        if any(part.count != 1 or not part.draws for part in plan):
            return self._ragged(plan)
        size, count = self._size, len(plan)
        if len(self._count) != count + 1:
            self._count = _ints(range(count + 1))
        ids: list[int] = []
        pos: list[int] = []
        slots: list[int] = []
        lens: list[int] = []
        for part in plan:
            seq, start = part.seq, part.start
            ids.append(-1 - seq.row if seq.pending else seq.ids[start])
            pos.append(start)
            slots.append(seq.pages[start // size] * size + start % size)
            lens.append(start + 1)
        batch = Batch(
            ids=_ints(ids),
            pos=_ints(pos),
            slots=_ints(slots),
            starts=self._count,
            lens=_ints(lens),
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
                ids.extend(seq.ids[start : start + count])
                pos.extend(range(start, start + count))
                slots.extend(seq.pages[at // size] * size + at % size for at in pos[-count:])
            starts.append(len(ids))
            lens.append(start + count)
            if part.draws:
                wanted.append(len(ids) - 1)
                rows.append(seq)
        if not rows:
            wanted.append(len(ids) - 1)
            rows.append(None)
        batch = Batch(
            ids=_ints(ids),
            pos=_ints(pos),
            slots=_ints(slots),
            starts=_ints(starts),
            lens=_ints(lens),
            table=self._pages(plan),
            rows=_ints(wanted),
        )
        return batch, rows

    def _pages(self, plan: SequenceOf[Slice]) -> memoryview:
        """The table [S, L] of a plan; the last one as long as nobody has got or lost pages."""
        size, held = self._size, self._held
        used = [(part.seq.pages, -(-(part.start + part.count) // size)) for part in plan]
        same = len(used) == len(held) and all(
            a is b and n == m for (a, n), (b, m) in zip(used, held, strict=True)
        )
        if not same:
            depth = max(n for _, n in used)
            table = array("i", bytes(4 * len(plan) * depth))
            for i, part in enumerate(plan):
                table[i * depth : i * depth + used[i][1]] = part.seq.page_table[: used[i][1]]
            self._held = used
            self._table = memoryview(table).cast("B").cast("i", (len(plan), depth))
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
        step = _ints(0 if seq is None else seq.generated for seq in rows)
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
        temperature=_floats(0.0 if p is None else p.temperature for p in params),
        top_k=_ints(0 if p is None else p.top_k for p in params),
        top_p=_floats(1.0 if p is None else p.top_p for p in params),
        min_p=_floats(0.0 if p is None else p.min_p for p in params),
        presence=_floats(0.0 if p is None else p.presence_penalty for p in params),
        frequency=_floats(0.0 if p is None else p.frequency_penalty for p in params),
        repetition=_floats(1.0 if p is None else p.repetition_penalty for p in params),
        key=array("Q", (0 if seq is None else seq.key for seq in rows)),
        step=_ints([0] * len(rows)),
        logprobs=_ints(-1 if p is None or p.logprobs is None else p.logprobs for p in params),
        bias_ptr=_pointers(map(len, biases)),
        bias_ids=_ints(token for bias in biases for token in bias),
        bias_values=_floats(value for bias in biases for value in bias.values()),
        pen_ptr=_ints([0] * (len(rows) + 1)),
        pen_ids=_ints(()),
        pen_out=_ints(()),
    )


def _temperatures(rows: Rows, asked: array[float]) -> array[float]:
    """Temperatures of the rows: what a rule of a row's grammar sets goes before what was asked."""
    out = asked
    for r, seq in enumerate(rows):
        ruled = None if seq is None or seq.matcher is None else seq.matcher.temperature
        if ruled is not None:
            out = asked[:] if out is asked else out
            out[r] = ruled
    return out


def _penalties(rows: Rows) -> tuple[array[int], array[int], array[int]]:
    """CSR lists of the tokens that count against each row: pointers, ids, counts in the output."""
    counts = [None if seq is None else seq.counts for seq in rows]
    ids, out = _ints(()), _ints(())
    for one in counts:
        if one is not None:
            ids += one.ids
            out += one.counts
    return _pointers(0 if one is None else len(one.ids) for one in counts), ids, out


def _pointers(lengths: Iterable[int]) -> array[int]:
    return _ints(accumulate(lengths, initial=0))


def _ints(values: Iterable[int]) -> array[int]:
    return array("i", values)


def _floats(values: Iterable[float]) -> array[float]:
    return array("f", values)
