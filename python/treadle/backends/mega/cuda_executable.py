"""`Executable` of one model on a Hopper GPU: prefill by torch, decode by the persistent kernel.

A step of single queries that goes on from the step before joins the launch under way; a step of
another make lets it end first. What the kernel does not draw (log-probabilities, penalties, bias)
is drawn on the host from its logits.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from treadle.backends.check import checked_batch, checked_mask, checked_params
from treadle.backends.drawn import resolve_ids
from treadle.backends.mega.cuda_boxes import plain
from treadle.backends.mega.cuda_launch import Launch, greedy
from treadle.backends.sampler import sample
from treadle.errors import EngineDead, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from treadle.backends.base import Executable, Handle, TokenFuture
    from treadle.backends.mega.cuda_launch import Kernel
    from treadle.backends.mega.cuda_pages import SharedPages
    from treadle.limits import Limits
    from treadle.types import Batch, Mask, SampleBatch, Sampled

IDLE = 0.02
"""Seconds after which a kernel that nobody asks for a step gives the GPU back."""

_log = logging.getLogger("treadle.backends.mega")


class KernelStep:
    """Logits of a step of a launch; they stay on the device."""

    __slots__ = ("launch", "rows", "step", "where")

    def __init__(self, launch: Launch, step: int) -> None:
        self.launch, self.step, self.where = launch, step, launch.where
        self.rows = len(launch.where)


class KernelTokens:
    """Tokens of a step of a launch."""

    __slots__ = ("_drawn", "rows", "step")

    def __init__(self, step: KernelStep) -> None:
        self.step, self.rows = step, step.rows
        self._drawn: Sampled | None = None

    def wait(self) -> Sampled:
        """Blocks until they are there. Raises EngineDead."""
        if self._drawn is None:
            self._drawn = self.step.launch.drawn(self.step.step, self.step.where)
        return self._drawn


class CudaExecutable:
    """kernels: by rows, smallest first. spare: a page that no sequence owns. Calls come from one
    thread; a second one watches for a launch that is left alone."""

    def __init__(
        self, inner: Executable, kernels: Sequence[Kernel], shared: SharedPages, *, pages: int,
        spare: int, limits: Limits,
    ) -> None:  # fmt: skip
        self.pages, self.page_size, self.vocab = pages, inner.page_size, inner.vocab
        self._inner: Executable | None = inner
        self._kernels: Sequence[Kernel] = kernels
        self._shared, self._spare, self._limits = shared, spare, limits
        self._launch: Launch | None = None
        self._used = kernels[0]
        self._last: Any = None  # tokens that ids below 0 name
        self._queued: Any = None  # the last handle given to torch
        self._lock = threading.Lock()
        self._running, self._closed = threading.Event(), threading.Event()
        self._counts = {"steps": 0, "launches": 0, "prefill": 0, "host_draws": 0}
        self._told: set[str] = set()
        threading.Thread(target=self._mind, name="treadle-mega-idle", daemon=True).start()

    def forward(self, batch: Batch) -> Handle:
        """Queues a step: on the kernel if every sequence has one query, else on torch."""
        last = self._last
        b = checked_batch(
            batch, pages=self.pages, page_size=self.page_size, vocab=self.vocab,
            drawn=last.rows if last is not None else 0, limits=self._limits,
        )  # fmt: skip
        with self._lock:
            self._live()
            launch = self._launch
            kernel = self._kernel(b)
            same = launch is not None and kernel is launch.kernel and self._follows(launch)
            if launch is not None and same and launch.takes(b):
                self._shared.wrote("kernel", launch.ask(b))
                self._counts["steps"] += 1
                return KernelStep(launch, launch.asked - 1)
        if kernel is None:
            return self._forward_inner(b)
        ids = resolve_ids(b.ids, last.wait().ids if last is not None else None)
        self._settle()
        self._rest()
        self._shared.enter("kernel")
        with self._lock:
            launch = Launch(kernel, ids, b, self._spare)
            self._launch, self._used = launch, kernel
            self._running.set()
        self._shared.wrote("kernel", launch.pages)
        self._counts["steps"] += 1
        self._counts["launches"] += 1
        return KernelStep(launch, 0)

    def sample(self, logits: Handle, mask: Mask | None, params: SampleBatch) -> TokenFuture:
        """Says how the rows of a step draw. The mask is copied."""
        inner = self._live()
        if not isinstance(logits, KernelStep):
            self._last = inner.sample(logits, mask, params)
            return self._last
        rows, launch = logits.rows, logits.launch
        kept = checked_mask(mask, rows) if mask is not None and len(mask.rows) else None
        settled = checked_params(params, rows, self.vocab)
        newest = launch is self._launch and logits.step == launch.asked - 1
        if newest and launch.posted == logits.step and plain(settled):
            launch.post(settled, kept)
            self._last = KernelTokens(logits)
            return self._last
        if not newest:
            raise InvalidRequest(
                "these logits were overwritten by a later step", at="logits",
                hint="sample each step before the next",
            )  # fmt: skip
        if launch.posted == logits.step:  # what is drawn on the device is nobody's
            launch.post(greedy(rows), None)
        launch.drawn(logits.step, logits.where)
        found = launch.kernel.logits()[logits.where]
        self._counts["host_draws"] += 1
        self._last = _HostTokens(sample(found, kept, settled))
        return self._last

    def stats(self) -> dict[str, Any]:
        """Steps of the kernel, its launches, steps of torch, draws on the host; torch's own."""
        more = getattr(self._live(), "stats", None)
        return {**self._counts, "torch": more() if more is not None else {}}

    def kernel(self) -> Kernel:
        """The kernel of the last launch, at rest. Raises EngineDead."""
        self._live()
        self._settle()
        return self._used

    def close(self) -> None:
        """Ends the kernel and frees everything; later calls raise EngineDead."""
        inner = self._inner
        if inner is None:
            return
        try:
            self._settle()
        except EngineDead as error:
            _log.warning("%s", error)
        self._inner = None
        self._closed.set()
        self._running.set()
        self._kernels, self._last, self._queued = (), None, None
        inner.close()

    def _follows(self, launch: Launch) -> bool:
        """Whether the tokens that the next step names are the launch's last, drawn by it."""
        last = self._last
        return (
            isinstance(last, KernelTokens)
            and last.step.launch is launch
            and last.step.step == launch.asked - 1
        )

    def _kernel(self, b: Batch) -> Kernel | None:
        """The smallest that takes a step, or None: torch does."""
        S = len(b.lens)
        if len(b.ids) != S or len(b.rows) != S:
            return None
        longest = int(b.lens.max())
        for kernel in self._kernels:
            if kernel.rows >= S and longest <= kernel.context:
                return kernel
        most = self._kernels[-1]
        self._say(
            f"{S} sequences of up to {longest} tokens, more than the kernel's {most.rows} of "
            f"{most.context}: torch decodes"
        )
        return None

    def _forward_inner(self, b: Batch) -> Handle:
        inner, last = self._live(), self._last
        if int(b.ids.min()) < 0 and isinstance(last, KernelTokens | _HostTokens):
            b.ids[:] = resolve_ids(b.ids, last.wait().ids)
        self._settle()
        self._shared.enter("torch")
        self._shared.wrote("torch", b.slots // self.page_size)
        self._counts["prefill"] += 1
        self._queued = inner.forward(b)
        return self._queued

    def _settle(self) -> None:
        """Waits until no kernel runs. Raises EngineDead."""
        with self._lock:
            launch, self._launch = self._launch, None
            self._running.clear()
        if launch is not None:
            launch.finish()

    def _rest(self) -> None:
        """Waits until torch has queued what it was given."""
        queued, self._queued = self._queued, None
        if queued is not None and hasattr(queued, "call"):
            queued.call.wait()

    def _say(self, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            _log.info("%s", reason)

    def _live(self) -> Executable:
        if self._inner is None:
            raise EngineDead("the executable is closed", hint="compile the model again")
        return self._inner

    def _mind(self) -> None:
        """Ends launches that nobody asks for steps."""
        while not self._closed.wait(IDLE):
            self._running.wait()
            with self._lock:
                if self._launch is not None and self._launch.idle(IDLE):
                    self._launch.close()


class _HostTokens:
    """Tokens that the host has drawn."""

    __slots__ = ("_drawn", "rows")

    def __init__(self, drawn: Sampled) -> None:
        self._drawn, self.rows = drawn, len(drawn.ids)

    def wait(self) -> Sampled:
        """The tokens."""
        return self._drawn
