"""A weight as it lies in a file, and the read-only mapping a backend compiles from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Stored(ABC):
    """Elements in somebody's memory, which a reader of bytes may take without loading numpy."""

    @property
    @abstractmethod
    def raw(self) -> memoryview:
        """Their bytes, row after row."""

    @abstractmethod
    def array(self) -> NDArray[Any]:
        """The same memory as an array."""


class Tensor(Struct, frozen=True):
    """One weight, possibly block-quantised; `data` may be a view of a mapped file.

    f32, f16: `data` has `shape` and that dtype. bf16: uint16 with `shape`.
    Block formats: uint8 [rows, bytes a row], where `shape` = (…, columns) and rows = the product
    of the leading axes.
    """

    name: str
    shape: tuple[int, ...]
    format: str
    stored: NDArray[Any] | Stored

    @property
    def data(self) -> NDArray[Any]:
        """The elements."""
        stored = self.stored
        return stored.array() if isinstance(stored, Stored) else stored

    @property
    def raw(self) -> memoryview:
        """The bytes of `data`, row after row; a copy where it is not in order."""
        stored = self.stored
        if isinstance(stored, Stored):
            return stored.raw
        held: Any = stored if stored.flags.c_contiguous else stored.copy()
        return memoryview(held).cast("B")


Weights = Mapping[str, Tensor]
