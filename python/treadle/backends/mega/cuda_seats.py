"""Rows that change hands while the kernel runs, as it reads them: `cuda/mega/seats.cuh`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAGES, TAKEN = 1, 2
_HEAD = 4  # words before the rows, and of a row


def words(rows: int, width: int) -> int:
    """Of the sheet, for so many rows of so many pages."""
    return _HEAD + _HEAD * rows + rows * width


class Seats:
    """The sheet in `memory`, uint32 [words], which the kernel sees."""

    def __init__(self, rows: int, width: int, memory: NDArray[np.uint32]) -> None:
        self.memory = memory
        self._rows = memory[_HEAD : _HEAD + _HEAD * rows].reshape(rows, _HEAD)
        self._pages = memory[_HEAD + _HEAD * rows : words(rows, width)].reshape(rows, width)

    def clear(self) -> None:
        """No row changes hands."""
        self.memory[0] = 0

    def post(
        self,
        steps: int,
        pages: Mapping[int, tuple[int, Sequence[int]]],
        taken: Mapping[int, tuple[int, int]],
    ) -> None:
        """What holds after so many steps of the launch, of which no more than these may be allowed;
        a step behind the sheet before must have drawn.

        pages: of a row that gets others, from which one on, and which. taken: (token, position)
        that a row goes on with.
        """
        self.memory[0] = 0
        self._rows[:] = 0
        for row, place in taken.items():
            self._rows[row, :3] = (TAKEN, *place)
        for row, (first, mine) in pages.items():
            self._rows[row, 0] = self._rows[row, 0] or PAGES
            self._rows[row, 3] = first | len(mine) << 16
            self._pages[row, first : first + len(mine)] = mine
        self.memory[0] = steps
