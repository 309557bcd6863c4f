"""What a kind of device must offer the referee; CPU is the first, CUDA is one more file."""

from __future__ import annotations

from typing import Protocol

from treadle.kernels.run.ring import Memory


class Device(Protocol):
    """One device, held by one lease."""

    name: str  # `kind:model`
    timer: str  # stands in every record, and never changes silently

    def flush(self, memories: list[Memory]) -> bool:
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
