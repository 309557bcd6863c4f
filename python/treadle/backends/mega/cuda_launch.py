"""One launch of the persistent kernel that goes on for as long as the host asks for another step.

The token of a step stays on the device for the next; the host learns of it from memory that both
see. So a step costs no launch, and the host's part of it (collect, masks, schedule) nothing until
it takes longer than the step. Between two steps sequences may leave, and rows get further pages.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import numpy as np

from treadle.backends.mega.cuda_args import STEPS
from treadle.errors import EngineDead
from treadle.mega.codegen import PAGE
from treadle.types import SampleBatch, Sampled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from treadle.backends.mega.cuda_boxes import Boxes
    from treadle.types import Batch, Mask

_SPINS, _NAP = 64, 2e-5
_LOOK = 256  # naps after which the device is asked whether it still runs


class Kernel(Protocol):
    """What a launch needs of `cuda.Decoder`: `rows` sequences at once, `context` positions each."""

    rows: int
    context: int
    boxes: Boxes

    def start(
        self, begin: Sequence[tuple[int, int]], table: NDArray[np.int32], steps: int, *,
        rules: str, allowed: int | None,
    ) -> None: ...  # fmt: skip
    def seat(
        self, steps: int, pages: Mapping[int, tuple[int, Sequence[int]]],
        taken: Mapping[int, tuple[int, int]],
    ) -> None: ...  # fmt: skip
    def allow(self, steps: int, *, last: bool = False) -> None: ...
    def told(self, step: int) -> NDArray[np.uint32] | None: ...
    def over(self) -> bool: ...
    def wait(self) -> None: ...
    def logits(self) -> NDArray[np.float32]: ...


class Launch:
    """A launch under way. spare: a page that no sequence owns, for rows without a sequence.

    where: the kernel's row of each sequence of the last step asked for.
    """

    def __init__(self, kernel: Kernel, tokens: NDArray[np.int32], batch: Batch, spare: int) -> None:
        self.kernel, self.where = kernel, np.arange(len(tokens))
        self.asked, self.posted = 1, 0
        self.closed = False
        self.touched = time.monotonic()
        idle = kernel.rows - len(tokens)
        self._spare, self._seated = spare, 0  # steps before the last sheet
        self._next = np.zeros(kernel.rows, np.int64)  # position of the next step
        self._next[self.where] = batch.pos + 1
        self._table = np.full((kernel.rows, -(-kernel.context // PAGE)), spare, np.int32)
        width = min(batch.table.shape[1], self._table.shape[1])
        self._table[: len(tokens), :width] = batch.table[:, :width]
        begin = list(zip(tokens.tolist(), batch.pos.tolist(), strict=True)) + [(0, 0)] * idle
        self.most = min(STEPS, kernel.context - int(batch.pos.max()))
        self.pages = np.unique(batch.slots // PAGE)
        kernel.start(begin, self._table, self.most, rules="each", allowed=1)

    def takes(self, batch: Batch) -> bool:
        """Whether a step is the next one of this launch: each sequence goes on behind its own
        token, on its own page or at the beginning of another. Some may have left."""
        S, before = len(batch.lens), -1 - batch.ids.astype(np.int64)
        if self.closed or self.asked >= self.most or len(before) != S:
            return False
        if before.min() < 0 or before.max() >= len(self.where) or len(np.unique(before)) != S:
            return False
        rows = self.where[before]
        at = self._next[rows]
        same = batch.slots // PAGE == self._table[rows, at // PAGE]
        return np.array_equal(batch.pos, at) and bool((same | (at % PAGE == 0)).all())

    def ask(self, batch: Batch) -> NDArray[np.int64]:
        """Lets one more step run, which `takes` took. Returns the pages that it begins."""
        rows = self.where[-1 - batch.ids.astype(np.int64)]
        page, at = batch.slots // PAGE, self._next[rows] // PAGE
        new = page != self._table[rows, at]
        gone = np.setdiff1d(self.where, rows)
        self._table[rows, at], self._table[gone] = page, self._spare
        if new.any() or len(gone):
            if self._seated:  # a step that has drawn began with the sheet's seats
                self.drawn(self._seated, self.where)
            self._seated = self.asked
            pages = {int(r): (0, self._table[r].tolist()) for r in gone}
            pages |= {int(r): (int(a), [int(p)])
                      for r, a, p in zip(rows[new], at[new], page[new], strict=True)}  # fmt: skip
            idle = np.setdiff1d(np.arange(self.kernel.rows), rows)
            self.kernel.seat(self.asked, pages, {int(r): (0, 0) for r in idle})
        self.where = rows
        self._next += 1
        self.asked += 1
        self.touched = time.monotonic()
        self.kernel.allow(self.asked)
        return np.unique(page[self._next[rows] % PAGE == 1])

    def post(self, params: SampleBatch, mask: Mask | None) -> None:
        """Says how the last step asked for draws. Its box is that of the step before the last."""
        if self.posted > 1:
            self.drawn(self.posted - 2, self.where)
        self.kernel.boxes.post(self.posted, params, mask, self.where.tolist())
        self.posted += 1

    def drawn(self, step: int, rows: NDArray[np.int64]) -> Sampled:
        """The tokens of some rows of a step, once they are there. Raises EngineDead if the kernel
        ended without them."""
        turns = 0
        while (found := self.kernel.told(step)) is None:
            turns += 1
            if turns > _SPINS:
                time.sleep(_NAP)
            if turns % _LOOK == 0 and self.kernel.over() and self.kernel.told(step) is None:
                self.kernel.wait()
                raise EngineDead("the kernel ended without a token", hint="start the process again")
        mine, R = found[rows], len(rows)
        return Sampled(
            mine[:, 0].astype(np.int32), mine[:, 2].astype(np.uint8),
            np.full(R, np.nan, np.float32), np.full((R, 0), -1, np.int32),
            np.full((R, 0), np.nan, np.float32),
        )  # fmt: skip

    def idle(self, seconds: float) -> bool:
        """Whether nobody has asked for a step for so long and all are drawn."""
        late = time.monotonic() - self.touched > seconds
        return late and not self.closed and self.kernel.told(self.asked - 1) is not None

    def close(self) -> None:
        """Lets the kernel end after the steps asked for; the multiprocessors are free then."""
        self.closed = True
        self.kernel.allow(self.asked, last=True)

    def finish(self) -> None:
        """Waits until it has ended. A step that nobody sampled draws greedily: its logits count.
        Raises EngineDead."""
        if self.posted < self.asked:
            self.post(greedy(len(self.where)), None)
        if not self.closed:
            self.close()
        self.kernel.wait()


def greedy(rows: int) -> SampleBatch:
    """Params of rows that take the likeliest token."""
    zero, none, one = np.zeros(rows, np.float32), np.zeros(0, np.int32), np.ones(rows, np.float32)
    ints, ends = np.zeros(rows, np.int32), np.zeros(rows + 1, np.int32)
    return SampleBatch(
        temperature=zero, top_k=ints, top_p=one, min_p=zero, presence=zero, frequency=zero,
        repetition=one, key=np.zeros(rows, np.uint64), step=ints, logprobs=ints - 1, bias_ptr=ends,
        bias_ids=none, bias_values=np.zeros(0, np.float32), pen_ptr=ends, pen_ids=none,
        pen_out=none,
    )  # fmt: skip
