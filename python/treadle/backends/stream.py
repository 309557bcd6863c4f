"""One executable for every backend whose calls run in order on a worker thread.

A device computes; this class checks what comes in, queues it, and chains steps: a forward may name
tokens that the sample before it has not drawn yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from treadle.backends.check import checked_batch, checked_mask, checked_params
from treadle.backends.queue import Call, CallQueue
from treadle.errors import EngineDead, Unsupported

if TYPE_CHECKING:
    from treadle.limits import Limits
    from treadle.types import Batch, Mask, SampleBatch, Sampled


class Drawn(Protocol):
    """Tokens of one sample on their device."""

    ids: Any

    def collect(self) -> Sampled:
        """Brings them to the host; blocks until the device is done."""
        ...


class Device(Protocol):
    """What a backend implements. Calls come from the worker thread, one at a time, in order."""

    pages: int
    page_size: int
    vocab: int

    def forward(self, batch: Batch, previous: Any) -> Any:
        """Logits [R, V] on the device. `previous` = the `ids` of the last Drawn, or None."""
        ...

    def sample(self, logits: Any, mask: Mask | None, params: SampleBatch) -> Drawn:
        """Starts the draw of one token a row."""
        ...


class StepHandle:
    """Logits of a queued forward."""

    __slots__ = ("call", "rows")

    def __init__(self, call: Call[Any], rows: int) -> None:
        self.call = call
        self.rows = rows


class StepTokens:
    """Tokens of a queued sample."""

    __slots__ = ("call", "rows")

    def __init__(self, call: Call[Drawn], rows: int) -> None:
        self.call = call
        self.rows = rows

    def wait(self) -> Sampled:
        """Blocks until the tokens are there. Raises what the device raised."""
        return self.call.wait().collect()


class StreamExecutable:
    """`Executable` over a `Device`. Raises InvalidRequest or LimitExceeded at the call for a step
    that is inconsistent; what fails later is raised by `wait`, and by every step that needs it."""

    def __init__(self, name: str, device: Device, limits: Limits) -> None:
        self.pages = device.pages
        self.page_size = device.page_size
        self.vocab = device.vocab
        self._device: Device | None = device
        self._limits = limits
        self._queue = CallQueue(f"{name} stream")
        self._last: StepTokens | None = None

    def forward(self, batch: Batch) -> StepHandle:
        """Queues one step and returns before the work is done. The batch is copied."""
        device, last = self._live(), self._last
        step = checked_batch(
            batch,
            pages=self.pages,
            page_size=self.page_size,
            vocab=self.vocab,
            drawn=last.rows if last is not None else 0,
            limits=self._limits,
        )
        needs = last.call if last is not None and int(step.ids.min()) < 0 else None

        def run() -> Any:
            return device.forward(step, needs.wait().ids if needs is not None else None)

        return StepHandle(self._queue.submit(run), len(step.rows))

    def sample(self, logits: StepHandle, mask: Mask | None, params: SampleBatch) -> StepTokens:
        """Queues the draw of one token a row. `params` is copied, `mask` is read when it runs."""
        device, rows = self._live(), logits.rows
        kept = checked_mask(mask, rows) if mask is not None and len(mask.rows) else None
        settled = checked_params(params, rows, self.vocab)

        def run() -> Drawn:
            return device.sample(logits.call.wait(), kept, settled)

        self._last = StepTokens(self._queue.submit(run), rows)
        return self._last

    def stats(self) -> dict[str, Any]:
        """What the device counts; empty for one that counts nothing."""
        counted = getattr(self._live(), "stats", None)
        return counted() if counted is not None else {}

    def kv(self) -> list[tuple[Any, Any]]:
        """Keys and values of each state in the graph's order, [P, B, K, d] each, for another
        runtime that shares the pages; they are at rest where no call is queued. Raises Unsupported.
        """
        given = getattr(self._live(), "kv", None)
        if given is None:
            raise Unsupported("this device keeps its KV pages to itself", hint="use backend torch")
        return given()

    def close(self) -> None:
        """Frees everything; later calls raise EngineDead, waiting ones too."""
        self._queue.close()
        self._device = None
        self._last = None

    def _live(self) -> Device:
        if self._device is None:
            raise EngineDead("the executable is closed", hint="compile the model again")
        return self._device
