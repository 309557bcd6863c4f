"""Read-only mapping of a file into memory, and the elements that lie in one."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from treadle.errors import ModelFormatError, NotFound
from treadle.types import Stored, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

Entry = TypeVar("Entry")
_DTYPES = {"f32": "<f4", "f16": "<f2", "bf16": "<u2"}


def map_file(path: Path) -> mmap.mmap:
    """The whole file; arrays made over it keep it mapped. Raises NotFound, ModelFormatError."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise NotFound("no such file", at=str(path)) from None
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise ModelFormatError(f"cannot be mapped: {error}", at=str(path)) from None


class Elements(Stored):
    """Elements in order, of a numpy dtype and a shape, over their bytes."""

    __slots__ = ("dtype", "memory", "shape")

    def __init__(self, memory: memoryview, dtype: str, shape: tuple[int, ...]) -> None:
        self.memory, self.dtype, self.shape = memory, dtype, shape

    @staticmethod
    def of(format: str, shape: tuple[int, ...], memory: memoryview) -> Elements:
        """Those of a tensor of a format and a shape, of blocks as rows of bytes."""
        plain = _DTYPES.get(format)
        if plain is not None:
            return Elements(memory, plain, shape)
        rows = prod(shape[:-1])
        return Elements(memory, "u1", (rows, len(memory) // rows))

    @property
    def raw(self) -> memoryview:
        """Their bytes."""
        return self.memory

    def array(self) -> NDArray[Any]:
        """The same memory as an array."""
        import numpy as np

        return np.frombuffer(self.memory, self.dtype).reshape(self.shape)


class Views(Mapping[str, Tensor], Generic[Entry]):
    """Tensors made of their descriptions when somebody asks, which take a third of the memory."""

    def __init__(self, entries: Mapping[str, Entry], view: Callable[[Entry], Tensor]) -> None:
        self._entries, self._view = entries, view

    def __getitem__(self, name: str) -> Tensor:
        return self._view(self._entries[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
