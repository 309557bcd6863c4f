"""Index checks of the references: arrays that lie must not wrap around silently."""

from __future__ import annotations

from typing import Any

from treadle.errors import GraphError


def in_range(index: Any, size: int, op: str, operand: str, axis: str) -> None:
    """Raises GraphError unless every index lies in [0, size)."""
    if not index.shape[0]:
        return
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= size:
        raise GraphError(
            f"{op}: {operand} holds {low if low < 0 else high}, {axis} is {size}",
            hint=f"{operand} must lie in 0..{size - 1}",
        )


def distinct(index: Any, op: str, operand: str) -> None:
    """Raises GraphError if an index occurs twice."""
    listed = index.tolist()
    if len(set(listed)) != len(listed):
        twice = next(i for i in listed if listed.count(i) > 1)
        raise GraphError(
            f"{op}: {operand} holds {twice} twice, two tokens cannot share a slot",
            hint="give each token of the batch its own slot",
        )
