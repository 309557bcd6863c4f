"""What a draw on the GPU obeys, written where the kernel reads it: `cuda/mega/boxes.cuh`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from treadle.types import Mask, SampleBatch

RULE = np.dtype(
    [
        ("masked", "u4"),
        ("temperature", "f4"),
        ("top_k", "u4"),
        ("top_p", "f4"),
        ("least", "f4"),
        ("key", "u4", 2),
        ("step", "u4"),
    ]
)
_HEAD = 8  # words before the rules


@dataclass(frozen=True, slots=True)
class Layout:
    """Words of a box for so many rows of a vocabulary."""

    rows: int
    vocab: int

    @property
    def masks(self) -> int:
        """First word of the masks."""
        return -(-(_HEAD + 8 * self.rows) // 16) * 16

    @property
    def width(self) -> int:
        """Words of a row's mask."""
        return -(-self.vocab // 32)

    @property
    def words(self) -> int:
        """Of a box."""
        return -(-(self.masks + self.rows * self.width) // 16) * 16


class Boxes:
    """Two boxes in `memory`, uint32 [2, layout.words], which the kernel sees."""

    def __init__(self, layout: Layout, memory: NDArray[np.uint32]) -> None:
        self.layout, self.memory = layout, memory
        end = _HEAD + 8 * layout.rows
        self._rules = [box[_HEAD:end].view(RULE) for box in memory]
        bits = slice(layout.masks, layout.masks + layout.rows * layout.width)
        self._masks = [box[bits].reshape(layout.rows, layout.width) for box in memory]

    def clear(self) -> None:
        """Makes both boxes those of no step; before a launch."""
        self.memory[:, 0] = 0

    def post(
        self, step: int, params: SampleBatch, mask: Mask | None = None,
        rows: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        """Says how step `step` of the launch draws. rows: the kernel's row of each row of params,
        the first ones if not given; others draw greedily.

        The box before the last is overwritten: the tokens of step - 2 must have been seen.
        """
        at = step & 1
        rules, masks = self._rules[at], self._masks[at]
        where = list(range(len(params.key))) if rows is None else list(rows)
        rules["masked"], rules["temperature"] = 0, 0.0
        rules["temperature"][where] = params.temperature
        rules["top_k"][where] = np.maximum(params.top_k, 0)
        rules["top_p"][where] = params.top_p
        with np.errstate(divide="ignore"):
            rules["least"][where] = np.log(params.min_p.astype(np.float64))
        rules["key"][where] = np.ascontiguousarray(params.key).view(np.uint32).reshape(-1, 2)
        rules["step"][where] = params.step
        if mask is not None:
            width = min(self.layout.width, mask.bits.shape[1])
            for bits, row in zip(mask.bits, mask.rows, strict=True):
                to = where[int(row)]
                masks[to, :width] = bits[:width].view(np.uint32)
                masks[to, width:] = 0  # tokens beyond the mask are illegal
                rules["masked"][to] = 1
        self.memory[at, 0] = step + 1  # last: on x86 stores are seen in their order


def plain(params: SampleBatch) -> bool:
    """Whether the kernel draws by these params: no bias, no penalty, no log-probability."""
    return not (len(params.bias_ids) or len(params.pen_ids) or bool((params.logprobs >= 0).any()))
