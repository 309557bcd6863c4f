"""The referee's side of shared memory: rings whose slots move, filled, poisoned and copied out.

Inputs are a sealed memfd: its one writable mapping is the referee's, made before the seal. Outputs
belong to one process each, so that nobody reads what another one answered.
"""

# numpy's own annotations leave element types open; what strict mode cannot see is tested.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.kernels.run import layout
from treadle.kernels.run.device import Ring
from treadle.kernels.run.layout import ALIGN

if TYPE_CHECKING:
    from numpy.typing import NDArray

POISON = 0xFF
"""NaN in every float dtype, -1 in every signed one, no truth value."""

_SEAL, _SHRINK, _GROW, _FUTURE_WRITE = 1, 2, 4, 16


class Memory:
    """One shared memory. `share()` gives the descriptor for a child, read-only where sealed."""

    def __init__(self, size: int, name: str, *, read_only: bool) -> None:
        self.size = max(-(-size // mmap.PAGESIZE) * mmap.PAGESIZE, mmap.PAGESIZE)
        self._handle = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._handle, self.size)
        self._map = mmap.mmap(self._handle, self.size)
        seals = _SEAL | _SHRINK | _GROW | (_FUTURE_WRITE if read_only else 0)
        fcntl.fcntl(self._handle, fcntl.F_ADD_SEALS, seals)
        self._read_only = read_only
        self.bytes: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)

    def share(self) -> int:
        """A new descriptor of this memory; the caller closes it."""
        how = os.O_RDONLY if self._read_only else os.O_RDWR
        return os.open(f"/proc/self/fd/{self._handle}", how | os.O_CLOEXEC)

    def view(self, offset: int, shape: tuple[int, ...], stored: np.dtype[Any]) -> NDArray[Any]:
        """An array over a slot."""
        return np.ndarray(shape, stored, self._map, offset)

    def push(self, spans: Sequence[tuple[int, int]] | None = None) -> None:
        """Nothing to do: the harness sees the same bytes."""

    def repeat(self, offset: int, size: int, count: int) -> None:
        """Copies a slot to those behind it."""
        whole = self.bytes[offset : offset + count * size].reshape(count, size)
        whole[1:] = whole[0]

    def restore(self) -> None:
        """Nothing to do: who may not write here cannot."""

    def changed(self) -> bool:
        """Nobody can."""
        return False

    def pull(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Gives the descriptor back; the mapping goes with its last view."""
        os.close(self._handle)


AGAIN = 0.5


class Arena:
    """Slots in a memory, placed for every batch: random order and gaps, or where others lay before.

    New addresses show who keeps pointers, old ones with other contents who trusts them.
    """

    def __init__(self, memory: Ring, rng: np.random.Generator) -> None:
        self.memory, self._rng = memory, rng
        self._last: dict[tuple[int, ...], list[int]] = {}

    def place(self, sizes: list[int], *, after: int = 0) -> list[int]:
        """Offsets for blocks of the given bytes, none before `after`.

        Raises ValueError where they do not fit.
        """
        spans = [-(-size // ALIGN) * ALIGN for size in sizes]
        shape = tuple(spans)
        if shape in self._last and self._rng.random() < AGAIN:
            return self._shuffled(spans, self._last[shape])
        self._last[shape] = found = self._fresh(spans, after)
        return found

    def _shuffled(self, spans: list[int], last: list[int]) -> list[int]:
        """The same places, changed around among blocks of one size."""
        out = list(last)
        for span in set(spans):
            same = [i for i, s in enumerate(spans) if s == span]
            for i, j in zip(same, self._rng.permutation(same).tolist(), strict=True):
                out[i] = last[j]
        return out

    def _fresh(self, spans: list[int], after: int) -> list[int]:
        spare = (self.memory.size - after - sum(spans)) // ALIGN
        if spare < 0:
            raise ValueError(f"{sum(spans)} bytes in {self.memory.size - after}")
        order = self._rng.permutation(len(spans))
        cuts = np.sort(self._rng.integers(0, spare + 1, len(spans)))
        gaps = np.diff(np.concatenate([[0], cuts]))
        offsets, at = [0] * len(spans), after
        for place, index in enumerate(order):
            at += int(gaps[place]) * ALIGN
            offsets[index] = at
            at += spans[index]
        return offsets


def poison(memory: Ring) -> None:
    """Fills outputs with what no kernel means."""
    memory.bytes[:] = POISON


def untouched(values: NDArray[Any]) -> bool:
    """Whether an output still holds poison alone."""
    raw = np.ascontiguousarray(values).view(np.uint8)
    return bool(raw.size) and bool((raw == POISON).all())


def control() -> Memory:
    """A control page."""
    return Memory(layout.CONTROL, "treadle-control", read_only=False)
