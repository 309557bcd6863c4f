"""What a step hands to the next: tokens drawn on the host, and ids that name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from treadle.types import Sampled


@dataclass(frozen=True, slots=True)
class HostDrawn:
    """Tokens that lie on the host already. `ids` is int32 [R], -1 where nothing was drawn."""

    sampled: Sampled

    @property
    def ids(self) -> NDArray[np.int32]:
        """Tokens for the next step's ids of -1-j."""
        return self.sampled.ids

    def collect(self) -> Sampled:
        """The tokens; nothing is left to wait for."""
        return self.sampled


def resolve_ids(ids: NDArray[np.int32], drawn: NDArray[np.int32] | None) -> NDArray[np.int32]:
    """`ids` with -1-j replaced by token j of the previous sample; a row that drew nothing gives 0:
    its sequence has failed, and the engine drops what follows from it."""
    if drawn is None or not len(drawn):
        return ids
    named = drawn[np.maximum(-1 - ids, 0)]
    return np.where(ids < 0, np.maximum(named, 0), ids)
