"""A weight as it lies in a file, and the read-only mapping a backend compiles from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Tensor:
    """One weight, possibly block-quantised; `data` may be a view of a mapped file.

    f32, f16: `data` has `shape` and that dtype. bf16: uint16 with `shape`.
    Block formats: uint8 [rows, bytes a row], where `shape` = (…, columns) and rows = the product
    of the leading axes.
    """

    name: str
    shape: tuple[int, ...]
    format: str
    data: NDArray[Any]


Weights = Mapping[str, Tensor]
