"""Long arrays of a GGUF file: checked when the file is opened, Python objects when somebody looks.

A vocabulary is a hundred thousand texts; a start that finds its tokeniser on disk wants none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from mmap import mmap

LONG = 4_096
"""Items from which an array stays in the file."""


class GgufArray(Sequence[Any]):
    """`count` items between two offsets of a mapped file, already found to be well-formed.

    code: of numbers, as `struct` has it; None for texts. Equal to any sequence of equal items.
    Every look makes the items anew, so take a list of them once.
    """

    __slots__ = ("_code", "_count", "_data", "_end", "_start")
    __hash__ = None  # pyright: ignore[reportAssignmentType] - equal to lists, which have none

    def __init__(self, data: mmap, start: int, end: int, count: int, code: str | None) -> None:
        self._data, self._start, self._end = data, start, end
        self._count, self._code = count, code

    @property
    def raw(self) -> memoryview:
        """The bytes in the file."""
        return memoryview(self._data)[self._start : self._end]

    def tolist(self) -> list[Any]:
        """The items as Python objects."""
        if self._code is not None:
            return [*struct.unpack_from(f"<{self._count}{self._code}", self._data, self._start)]
        data, at = self._data, self._start
        read_length = struct.Struct("<Q").unpack_from
        found: list[bytes] = []
        for _ in range(self._count):
            start = at + 8
            at = start + read_length(data, at)[0]
            found.append(data[start:at])
        return list(map(bytes.decode, found))

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self.tolist()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, (str, bytes)):
            return NotImplemented
        return self.tolist() == list(other)  # pyright: ignore[reportUnknownArgumentType]

    def __repr__(self) -> str:
        return f"<{self._count} items of a GGUF file>"
