"""What a kind of device must offer the referee; CPU is the first, CUDA is one more file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Ring(Protocol):
    """Memory that referee and harness share, as the referee sees it: bytes of the host."""

    size: int
    bytes: NDArray[np.uint8]

    def share(self) -> int:
        """A new descriptor for a child; the caller closes it."""
        ...

    def view(self, offset: int, shape: tuple[int, ...], stored: np.dtype[Any]) -> NDArray[Any]:
        """An array over a slot."""
        ...

    def push(self, spans: Sequence[tuple[int, int]] | None = None) -> None:
        """Makes what was written here, in (offset, bytes) or anywhere, visible to the device."""
        ...

    def repeat(self, offset: int, size: int, count: int) -> None:
        """On the device, writes what was pushed to a slot to the `count` - 1 slots behind it."""
        ...

    def restore(self) -> None:
        """Puts back what was pushed, whatever others wrote there since."""
        ...

    def changed(self) -> bool:
        """Whether others wrote there since, where they can."""
        ...

    def pull(self) -> None:
        """Makes what the device wrote visible here."""
        ...

    def close(self) -> None:
        """Frees it."""
        ...


class Device(Protocol):
    """One device, held by one lease."""

    kind: str
    name: str  # `kind:model`
    timer: str  # stands in every record, and never changes silently
    shared: int  # inputs of more bytes have `copies` slots, not one a call
    ahead: bool  # harnesses run a batch once, unseen, before its inputs are revealed
    slack: float  # how far `floor` lies below what was measured of this device
    oracle: str  # torch's name of the device that computes what outputs should be; "": numpy

    def allocate(self, size: int, *, read_only: bool) -> Ring:
        """A ring; read_only: for whom it is shared with, where the device grants it."""
        ...

    def copies(self, size: int, *, held: bool = False) -> int:
        """Slots of inputs of so many bytes, so that calls do not find them in a cache. held: what a
        process makes of them lies in memory of its own, which nobody else can flush."""
        ...

    def evict(self) -> None:
        """Takes from the caches that processes share what lies in memory of their own."""
        ...

    def flush(self, memories: Sequence[Ring]) -> bool:
        """Empties caches of these memories, and of what a candidate may have pinned."""
        ...

    def cores(self) -> tuple[list[int], list[int]]:
        """Processors of the referee and of the harnesses; both empty: not pinned."""
        ...

    def floor(self, moved: int, flops: float) -> float:
        """Seconds below which nothing can move these bytes and do these operations."""
        ...

    def facts(self) -> dict[str, str]:
        """Clocks, governor, versions: what a record says of the machine."""
        ...
