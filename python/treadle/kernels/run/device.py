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

    def push(self) -> None:
        """Makes what was written here visible to the device."""
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

    def allocate(self, size: int, *, read_only: bool) -> Ring:
        """A ring; read_only: for whom it is shared with, where the device grants it."""
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
