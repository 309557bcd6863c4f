"""`Executable` over the CPU's workers: calls post and return, only `wait` blocks.

Two steps may be under way: the workers go from one to the next by themselves, since a step reads
the tokens of the one before where its draw has put them. So the host's part of a step (collect,
masks, schedule) is hidden where a core is free for it; where none is, it takes its time from a
worker, and the others wait for that one. Hence it does no more than it must: what a step says is
checked once, natively, as it is copied.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from treadle import _core
from treadle.errors import EngineDead, InvalidRequest, LimitExceeded
from treadle.types import Mask, Sampled

# What is for the host alone (logits, draws that a step was not given) is numpy's and imports it;
# the steps of the engine need none of it.

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from treadle.backends.mega.device import MegaDevice
    from treadle.limits import Limits
    from treadle.mega import Plan
    from treadle.types import Batch, SampleBatch


_HINT = "the scheduler must send consistent steps"


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
        """Gives the workers a step, of which they take a copy."""
        device, last = self._live(), self._last
        for name, count in (("batch_tokens", len(batch.ids)), ("sequences", len(batch.lens))):
            most: int = getattr(self._limits, name)
            if count > most:
                raise LimitExceeded(name, count, most, hint=_HINT)
        self._settle()
        # The workers know the tokens of the step before them.
        if last is None or self._latest is None or last.step != self._latest.step:
            batch = _resolved(batch, last)
        while len(self._flying) > 1:
            self._flying.pop(0).wait()
        try:
            step = device.runner.post(
                device.bucket(len(batch.ids)), batch.ids, batch.pos, batch.slots, batch.starts,
                batch.lens, batch.table, batch.rows,
            )  # fmt: skip
        except _core.CoreError as error:
            raise InvalidRequest(error.text, at=error.at or "batch", hint=_HINT) from None
        self._latest = StepLogits(self, step, len(batch.rows))
        self._open = len(batch.rows) > 0
        if not self._open:
            self._flying.append(StepTokens(self, step, 0))
        return self._latest

    def sample(self, logits: StepLogits, mask: Mask | None, params: SampleBatch) -> StepTokens:
        """Says how the tokens of a step are drawn; `mask` is kept until they are."""
        device, rows = self._live(), logits.rows
        if not (self._open and logits is self._latest):  # drawn before, or passed over: on the host
            self._last = StepTokens(self, -1, rows, _on_host(logits, mask, params, self.vocab))
            return self._last
        bits, masked = _masks(mask, self.vocab)
        if len(params.temperature) != rows:
            found = len(params.temperature)
            raise InvalidRequest(f"{found} values for {rows} rows", at="temperature", hint=_HINT)
        try:
            device.runner.bind(bits, masked, None, params)
        except _core.CoreError as error:
            raise InvalidRequest(error.text, at=error.at or "params", hint=_HINT) from None
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
        import numpy as np

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
        return Sampled(*runner.drawn(step))

    def _settle(self) -> None:
        """Ends a step that nobody has sampled: its logits are kept, its tokens are nobody's."""
        if not self._open:
            return
        assert self._latest is not None
        self._latest.wait()
        rows = self._latest.rows
        self._live().runner.bind(given=array("i", bytes(4 * rows)))
        self._open = False
        self._flying.append(StepTokens(self, self._latest.step, rows))

    def _live(self) -> MegaDevice:
        if self._device is None:
            raise EngineDead("the executable is closed", hint="compile the model again")
        return self._device

    def _ended(self, whole: bool) -> None:
        if not whole:
            raise EngineDead("the workers were stopped", hint="compile the model again")


def _resolved(batch: Batch, last: StepTokens | None) -> Batch:
    """The batch with the tokens that ids below 0 name, if the workers do not know them."""
    lowest = min(batch.ids, default=0)
    if lowest >= 0:
        return batch
    if last is None or -lowest > last.rows:
        raise InvalidRequest(
            f"ids name row {-1 - lowest} of a step that draws fewer", at="ids", hint=_HINT
        )
    drawn = last.wait().ids
    # A row that drew nothing gives 0: its sequence has failed, and the engine drops what follows.
    ids = array("i", (i if i >= 0 else max(drawn[-1 - i], 0) for i in batch.ids))
    return replace(batch, ids=ids)


def _on_host(logits: StepLogits, mask: Mask | None, params: SampleBatch, vocab: int) -> Sampled:
    from treadle.backends.check import checked_mask, checked_params
    from treadle.backends.sampler import sample

    kept = checked_mask(mask, logits.rows) if mask is not None and len(mask.rows) else None
    return sample(logits.array, kept, checked_params(params, logits.rows, vocab))


def _masks(mask: Mask | None, vocab: int) -> tuple[Any, Any]:
    """Mask words as wide as the vocabulary, int32 [N, W], and the logits row of each."""
    if mask is None or not len(mask.rows):
        return None, None
    bits = memoryview(mask.bits)
    shape = bits.shape or ()
    if len(shape) != 2 or bits.itemsize != 4:
        raise InvalidRequest("int32 [N, W] is expected", at="mask.bits", hint=_HINT)
    if (missing := -(-vocab // 32) - shape[1]) > 0:  # tokens beyond the mask are illegal
        import numpy as np

        return np.pad(mask.bits, ((0, 0), (0, missing))), mask.rows
    return bits, mask.rows
