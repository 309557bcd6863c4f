"""Reader of GGUF files: metadata and mapped tensors, every length checked before it is used.

Layout (GGUF specification, versions 2 and 3): magic, version, counts, key-value pairs, tensor
descriptions, padding to the alignment, tensor data. All integers are little-endian.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from msgspec import Struct

from treadle import _core
from treadle.errors import LimitExceeded, ModelFormatError, Unsupported
from treadle.limits import Limits
from treadle.models.gguf_array import LONG, GgufArray
from treadle.models.mapping import Elements, Views, map_file
from treadle.types import Tensor
from treadle.types.formats import BLOCKS

_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_FORMATS = {
    0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0",
    10: "q2_k", 11: "q3_k", 12: "q4_k", 13: "q5_k", 14: "q6_k", 30: "bf16",
}  # fmt: skip
_MAX_ALIGNMENT = 1 << 20


class GgufFile(Struct, frozen=True):
    """A mapped GGUF file. Tensors are read-only views of the mapping, in the file's order; arrays
    of the metadata are lists, or read from the file when somebody looks (`GgufArray`)."""

    path: Path
    metadata: dict[str, Any]
    tensors: Mapping[str, Tensor]

    @staticmethod
    def open(path: str | Path, limits: Limits | None = None) -> GgufFile:
        """Maps a file and reads its head; tensor data is not touched.

        Shapes come out row-major: GGUF stores the fastest axis first, here it stands last.
        Raises NotFound, ModelFormatError (file, offset, what was read and expected), LimitExceeded
        (a count beyond `limits`), Unsupported (version, byte order or weight format).
        """
        path = Path(path)
        cursor = _Cursor(path, map_file(path), limits or Limits())
        tensor_count, key_count = _head(cursor)
        metadata = _metadata(cursor, key_count)
        return GgufFile(path, metadata, _tensors(cursor, tensor_count, metadata))


class _Cursor:
    """A position in the mapped file. Nothing is read that was not checked to lie inside."""

    __slots__ = ("at", "bytes", "limits", "path", "size")

    def __init__(self, path: Path, data: mmap.mmap, limits: Limits) -> None:
        self.path, self.bytes, self.size, self.limits, self.at = path, data, len(data), limits, 0

    def fail(self, message: str, at: int | None = None) -> ModelFormatError:
        place = f"{self.path}, offset {self.at if at is None else at}"
        return ModelFormatError(message, at=place, hint="fetch or convert the file again")

    def bound(self, limit: str, value: int) -> int:
        maximum: int = getattr(self.limits, limit)
        if value > maximum:
            raise LimitExceeded(
                limit, value, maximum, at=f"{self.path}, offset {self.at}", exit_code=3
            )
        return value

    def take(self, count: int, what: str) -> int:
        """Steps over `count` bytes and returns where they start."""
        start = self.at
        if count > self.size - start:
            raise self.fail(f"{what} needs {count} bytes, the file has {self.size - start} left")
        self.at = start + count
        return start

    def number(self, code: str, what: str) -> Any:
        start = self.take(struct.calcsize("<" + code), what)
        if code == "?" and self.bytes[start] > 1:
            raise self.fail(f"{what} is the byte {self.bytes[start]}, expected 0 or 1", start)
        return struct.unpack_from("<" + code, self.bytes, start)[0]

    def string(self, what: str) -> str:
        length = self.bound("gguf_string_bytes", self.number("Q", f"length of {what}"))
        start = self.take(length, what)
        try:
            return str(self.bytes[start : self.at], "utf-8")
        except UnicodeDecodeError as error:
            raise self.fail(f"{what} is not UTF-8 ({error.reason})", start) from None

    def value(self, kind: int, what: str) -> Any:
        if kind == _STRING:
            return self.string(what)
        if kind == _ARRAY:
            return self.array(what)
        if kind not in _SCALARS:
            raise self.fail(f"{what} has the unknown value type {kind}")
        return self.number(_SCALARS[kind], what)

    def array(self, what: str) -> Sequence[Any]:
        kind = self.number("I", f"element type of {what}")
        count = self.bound("gguf_array_items", self.number("Q", f"length of {what}"))
        if kind == _STRING:
            if count * 8 > self.size - self.at:  # each string has a length of 8 bytes
                raise self.fail(f"{what} claims {count} strings, more than the file can hold")
            return self.strings(count, what)
        if kind not in _SCALARS:
            raise self.fail(f"{what} has the unsupported element type {kind}")
        code = _SCALARS[kind]
        start = self.take(count * struct.calcsize("<" + code), what)
        if kind == _BOOL and count and max(self.bytes[start : self.at]) > 1:
            raise self.fail(f"{what} holds booleans other than 0 and 1", start)
        return self.items(count, start, code)

    def strings(self, count: int, what: str) -> Sequence[str]:
        """What lies here in good order is stepped over; anything else is read string by string,
        which tells what is wrong with it."""
        start = self.at
        limit = self.limits.gguf_string_bytes
        end = _core.strings_end(self.bytes, start, count, limit)
        if end is None:
            return [self.string(what) for _ in range(count)]
        self.at = end
        return self.items(count, start, None)

    def items(self, count: int, start: int, code: str | None) -> Sequence[Any]:
        """The items between `start` and here: a list, if they are few."""
        found = GgufArray(self.bytes, start, self.at, count, code)
        return found if count >= LONG else found.tolist()


def _head(cursor: _Cursor) -> tuple[int, int]:
    start = cursor.take(4, "the magic number")
    magic = bytes(cursor.bytes[start : start + 4])
    if magic != b"GGUF":
        raise cursor.fail(f"magic number is {magic!r}, expected b'GGUF'", start)
    version = cursor.number("I", "version")
    if version not in (2, 3):
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        what = f"big-endian version {swapped}" if swapped in (2, 3) else f"version {version}"
        raise Unsupported(
            f"GGUF {what}", at=str(cursor.path), hint="convert it to little-endian version 2 or 3"
        )
    tensors = cursor.bound("gguf_tensors", cursor.number("Q", "tensor count"))
    return tensors, cursor.bound("gguf_keys", cursor.number("Q", "key count"))


def _metadata(cursor: _Cursor, count: int) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for i in range(count):
        start = cursor.at
        key = cursor.string(f"key {i}")
        if key in metadata:
            raise cursor.fail(f"key {key!r} appears twice", start)
        kind = cursor.number("I", f"type of {key!r}")
        metadata[key] = cursor.value(kind, f"value of {key!r}")
    return metadata


def _alignment(cursor: _Cursor, metadata: dict[str, Any]) -> int:
    value = metadata.get("general.alignment", 32)
    if type(value) is not int or not 8 <= value <= _MAX_ALIGNMENT or value & (value - 1):
        raise cursor.fail(
            f"general.alignment is {value!r}, expected a power of two from 8 to {_MAX_ALIGNMENT}"
        )
    return value


class _Entry(Struct, frozen=True):
    """A tensor's description; `offset` counts from the start of the data."""

    name: str
    shape: tuple[int, ...]
    format: str
    offset: int
    rows: int
    row_bytes: int

    def view(self, data: mmap.mmap, base: int) -> Tensor:
        start = base + self.offset
        memory = memoryview(data)[start : start + self.rows * self.row_bytes]
        elements = Elements.of(self.format, self.shape, memory)
        return Tensor(self.name, self.shape, self.format, elements)


def _entry(cursor: _Cursor, i: int, alignment: int) -> _Entry:
    start = cursor.at
    name = cursor.string(f"name of tensor {i}")
    what = f"tensor {name!r}"
    count = cursor.bound("gguf_dims", cursor.number("I", f"number of axes of {what}"))
    axes: list[int] = [cursor.number("Q", f"axis of {what}") for _ in range(count)]
    if not axes or 0 in axes:
        raise cursor.fail(
            f"{what} has the axes {axes}, expected one or more, none of them 0", start
        )
    code = cursor.number("I", f"format of {what}")
    if code not in _FORMATS:
        raise Unsupported(
            f"{what} has the weight format number {code}",
            at=str(cursor.path),
            hint=f"use a file with {', '.join(_FORMATS.values())}",
        )
    format = _FORMATS[code]
    weights, size = BLOCKS[format]
    blocks, rest = divmod(axes[0], weights)
    if rest:
        raise cursor.fail(f"{what} has rows of {axes[0]}, not a multiple of {weights}", start)
    offset = cursor.number("Q", f"offset of {what}")
    if offset % alignment:
        raise cursor.fail(f"{what} lies at {offset}, not a multiple of {alignment}", start)
    # Python integers do not wrap, so an overflowing product is simply larger than the file.
    return _Entry(name, tuple(reversed(axes)), format, offset, prod(axes[1:]), blocks * size)


def _tensors(cursor: _Cursor, count: int, metadata: dict[str, Any]) -> Mapping[str, Tensor]:
    alignment = _alignment(cursor, metadata)
    entries: dict[str, _Entry] = {}
    for i in range(count):
        start = cursor.at
        entry = _entry(cursor, i, alignment)
        if entry.name in entries:
            raise cursor.fail(f"tensor {entry.name!r} appears twice", start)
        entries[entry.name] = entry
    base = -(-cursor.at // alignment) * alignment
    end, last = 0, ""
    for entry in sorted(entries.values(), key=lambda e: e.offset):
        if entry.offset < end:
            raise cursor.fail(
                f"tensor {entry.name!r} at {entry.offset} overlaps {last!r}, which ends at {end}"
            )
        end, last = entry.offset + entry.rows * entry.row_bytes, entry.name
        if base + end > cursor.size:
            raise cursor.fail(
                f"tensor {entry.name!r} ends at {base + end}, the file at {cursor.size}"
            )
    return Views(entries, lambda entry: entry.view(cursor.bytes, base))
