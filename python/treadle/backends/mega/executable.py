"""`Executable` over the CPU's workers: calls post and return, only `wait` blocks.

Two steps may be under way: the workers go from one to the next by themselves, since a step reads
the tokens of the one before where its draw has put them. So the host's part of a step (collect,
masks, schedule) is hidden where a core is free for it; where none is, it takes its time from a
worker, and the others wait for that one. Hence it does no more than it must: what a step says is
checked once, natively, as it is copied.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle import _core
from treadle.backends.check import checked_batch, checked_mask, checked_params
from treadle.backends.drawn import resolve_ids
from treadle.backends.sampler import sample
from treadle.errors import EngineDead, InvalidRequest
from treadle.types import Mask, Sampled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from treadle.backends.mega.device import MegaDevice
    from treadle.limits import Limits
    from treadle.mega import Plan
    from treadle.types import Batch, SampleBatch

_REFUSED = (_core.CoreError, TypeError, RuntimeError)
"""What the workers raise for a step that points nowhere, which they check before they take it, or
for arrays of another type. Only then is it looked at here, to say what is wrong or to convert."""


class StepLogits:
    """Logits of a step: with the workers, until somebody asks for them."""

    def __init__(self, owner: MegaExecutable, step: int, rows: int) -> None:
        self.rows = rows
        self._owner, self.step = owner, step
        self._array: NDArray[np.float32] | None = None

    @property
    def call(self) -> StepLogits:
        """What `wait` is called of, as with the other backends."""
        return self

    def wait(self) -> StepLogits:
        """Blocks until `array` is there. Raises EngineDead after a close, InvalidRequest for logits
        that later steps have overwritten."""
        if self._array is None:
            self._array = self._owner.logits(self.step, self.rows)
        return self

    @property
    def array(self) -> NDArray[np.float32]:
        """float32 [R, V], a copy."""
        self.wait()
        assert self._array is not None
        return self._array


class StepTokens:
    """Tokens of a step: with the workers until they are collected. step: -1 for those of the
    host."""

    def __init__(
        self, owner: MegaExecutable, step: int, rows: int, drawn: Sampled | None = None
    ) -> None:
        self.rows, self.step = rows, step
        self._owner, self._drawn = owner, drawn

    def wait(self) -> Sampled:
        """Blocks until the tokens are there. Raises EngineDead after a close."""
        if self._drawn is None:
            self._drawn = self._owner.drawn(self.step)
        return self._drawn


class MegaExecutable:
    """`Executable` of one model on the CPU. Raises InvalidRequest or LimitExceeded at the call for
    a step that is inconsistent. A third step waits for the first."""

    def __init__(self, device: MegaDevice, limits: Limits) -> None:
        self.pages, self.page_size, self.vocab = device.pages, device.page_size, device.vocab
        self.trace = device.trace
        self._device: MegaDevice | None = device
        self._limits = limits
        self._latest: StepLogits | None = None  # of the last step posted
        self._open = False  # whether that step still waits for its draw
        self._last: StepTokens | None = None  # what ids below 0 name
        self._flying: list[StepTokens] = []  # whose tokens still lie with the workers

    @property
    def plans(self) -> list[Plan]:
        """What the workers execute, by number of rows. Raises EngineDead after a close."""
        return self._live().plans

    def forward(self, batch: Batch) -> StepLogits:
        """Gives the workers a step."""
        device, last, latest = self._live(), self._last, self._latest
        if self._open or (latest is not None and (last is None or last.step != latest.step)):
            batch = self._checked(batch)
            self._settle()
            # The workers know the tokens of the step before; these are older.
            ids = resolve_ids(
                batch.ids, last.wait().ids if last is not None and batch.ids.min() < 0 else None
            )
            batch = replace(batch, ids=ids)
        while len(self._flying) > 1:
            self._flying.pop(0).wait()
        try:
            step = self._post(device, batch)
        except _REFUSED:
            step = self._post(device, self._checked(batch))
        self._latest = StepLogits(self, step, len(batch.rows))
        self._open = len(batch.rows) > 0
        if not self._open:
            self._flying.append(StepTokens(self, step, 0))
        return self._latest

    def sample(self, logits: StepLogits, mask: Mask | None, params: SampleBatch) -> StepTokens:
        """Says how the tokens of a step are drawn; `mask` is kept until they are."""
        device, rows = self._live(), logits.rows
        if mask is not None and not len(mask.rows):
            mask = None
        if not (self._open and logits is self._latest):  # drawn before, or passed over: on the host
            mask, params = self._checked_draw(mask, params, rows)
            self._last = StepTokens(self, -1, rows, sample(logits.array, mask, params))
            return self._last
        try:
            _bind(device, mask, params)
        except _REFUSED:
            mask, params = self._checked_draw(mask, params, rows)
            _bind(device, mask and _widened(mask, self.vocab), params)
        self._open = False
        self._last = StepTokens(self, logits.step, rows)
        self._flying.append(self._last)
        return self._last

    def stats(self) -> dict[str, int]:
        """Steps so far."""
        self._live()
        return {"steps": self._latest.step if self._latest is not None else 0}

    def close(self) -> None:
        """Stops the workers; later calls raise EngineDead, waiting ones too."""
        device, self._device = self._device, None
        if device is not None:
            device.runner.close()
        self._latest = self._last = None
        self._flying.clear()

    def logits(self, step: int, rows: int) -> NDArray[np.float32]:
        """A copy of the logits of the last step. Raises InvalidRequest for an older one."""
        runner = self._live().runner
        if self._latest is None or self._latest.step != step:
            raise InvalidRequest(
                "these logits were overwritten by a later step", at="logits",
                hint="sample each step before the next, or once",
            )  # fmt: skip
        if not rows:
            self._ended(runner.wait_done(step))
            return np.empty((0, self.vocab), np.float32)
        self._ended(runner.wait_logits(step))
        return np.array(runner.logits(step))

    def drawn(self, step: int) -> Sampled:
        """What was drawn in a step that was sampled, once it is over."""
        runner = self._live().runner
        self._ended(runner.wait_done(step))
        self._flying = [tokens for tokens in self._flying if tokens.step != step]
        return Sampled(*_arrays(runner, step))

    def _settle(self) -> None:
        """Ends a step that nobody has sampled: its logits are kept, its tokens are nobody's."""
        if not self._open:
            return
        assert self._latest is not None
        self._latest.wait()
        rows = self._latest.rows
        self._live().runner.bind(given=np.zeros(rows, np.int32))
        self._open = False
        self._flying.append(StepTokens(self, self._latest.step, rows))

    def _post(self, device: MegaDevice, b: Batch) -> int:
        tokens = len(b.ids)
        if tokens > self._limits.batch_tokens or len(b.lens) > self._limits.sequences:
            self._checked(b)
        return device.runner.post(
            device.bucket(tokens), b.ids, b.pos, b.slots, b.starts, b.lens, b.table, b.rows
        )

    def _checked(self, batch: Batch) -> Batch:
        """The batch as the workers take it, or the error that says what is wrong with it."""
        return checked_batch(
            batch, pages=self.pages, page_size=self.page_size, vocab=self.vocab,
            drawn=self._last.rows if self._last is not None else 0, limits=self._limits,
        )  # fmt: skip

    def _checked_draw(
        self, mask: Mask | None, params: SampleBatch, rows: int
    ) -> tuple[Mask | None, SampleBatch]:
        kept = checked_mask(mask, rows) if mask is not None else None
        return kept, checked_params(params, rows, self.vocab)

    def _live(self) -> MegaDevice:
        if self._device is None:
            raise EngineDead("the executable is closed", hint="compile the model again")
        return self._device

    def _ended(self, whole: bool) -> None:
        if not whole:
            raise EngineDead("the workers were stopped", hint="compile the model again")


def _arrays(runner: Any, step: int) -> tuple[Any, ...]:
    return runner.drawn(step)


def _bind(device: MegaDevice, mask: Mask | None, params: SampleBatch) -> None:
    if mask is None:
        device.runner.bind(params=params)
    else:
        device.runner.bind(mask.bits, mask.rows, None, params)


def _widened(mask: Mask, vocab: int) -> Mask:
    """Mask words as wide as the vocabulary: tokens beyond the mask are illegal."""
    bits = np.ascontiguousarray(mask.bits)
    missing = -(-vocab // 32) - bits.shape[1]
    if missing > 0:
        bits = np.concatenate((bits, np.zeros((len(bits), missing), np.int32)), axis=1)
    return Mask(bits, np.asarray(mask.rows, np.int32))
