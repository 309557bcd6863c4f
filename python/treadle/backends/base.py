"""The seam between engine and backends: two protocols, and what passes through them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from treadle.graph import Graph
    from treadle.limits import Limits
    from treadle.types import Batch, Mask, Outline, SampleBatch, Sampled, Weights


class Handle(Protocol):
    """Logits [R, V] of one forward pass, possibly still being computed."""

    rows: int


class TokenFuture(Protocol):
    """Tokens of one `sample`, possibly still being drawn."""

    def wait(self) -> Sampled:
        """Blocks until the tokens are there. Raises what the device raised."""
        ...


class Executable(Protocol):
    """A compiled model. Calls are queued in order; only `TokenFuture.wait` blocks.

    `pages` is the number of KV pages really allocated, `page_size` the tokens each holds,
    `vocab` the width of a logits row. Page contents live as long as the executable; the caller
    alone decides which pages a sequence uses. Calls come from one thread.
    """

    pages: int
    page_size: int
    vocab: int

    def forward(self, batch: Batch) -> Handle:
        """Queues one step and returns before the work is done."""
        ...

    def sample(self, logits: Handle, mask: Mask | None, params: SampleBatch) -> TokenFuture:
        """Queues the draw of one token for each row of `logits`. The mask is read at once or
        kept: the caller does not reuse its memory before `wait` has returned."""
        ...

    def close(self) -> None:
        """Frees everything; later calls raise EngineDead."""
        ...


class Backend(Protocol):
    """Turns a graph and weights into an executable on one device.

    `device` and `threads` tell what was chosen; `act` is the activation type that graphs for this
    backend are built with ("f32", "bf16", "f16").
    """

    device: str
    threads: int
    act: str

    def compile(
        self, graph: Graph, weights: Weights, limits: Limits, *, pages: int | None = None
    ) -> Executable:
        """`pages` = KV pages to allocate; None = what the device's memory suggests."""
        ...


class Reopens(Protocol):
    """What a backend has as well that keeps on disk what it makes of a graph."""

    def reopen(
        self, outline: Outline, weights: Weights, limits: Limits, *, pages: int | None = None
    ) -> Executable | None:
        """As `Backend.compile` of the graph with this outline; None if that has to be called,
        because nothing that fits is on disk."""
        ...
