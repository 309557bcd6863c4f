"""Buffers of a plan: activations share slots by lifetime, matrices lie together and are cut.

A slot is a GPU buffer of its own, not a range of one arena: WebGPU tracks use by whole buffers, so
a dispatch may not read and write parts of the same one, and two that write it are ordered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from treadle.errors import ModelFormatError, Unsupported
from treadle.export.wgsl import ALIGN, Segment, row_bytes

BINDING = 128 << 20
"""Bytes that one binding may have on every device."""


class Matrix(Protocol):
    """A tensor of the bundle: `rows` of `cols` weights; a vector is one row."""

    @property
    def format(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def cols(self) -> int: ...


@dataclass(slots=True)
class Slots:
    """Buffers for values with a width a token. Lists of steps that never overlap share them."""

    widths: list[int] = field(default_factory=list[int])
    _busy: dict[str, int] = field(default_factory=dict[str, int])

    def give(self, value: str, width: int) -> str:
        """A free slot for a value of `width` float32 a token: the closest that needs least."""
        free = [i for i in range(len(self.widths)) if i not in self._busy.values()]
        if free:
            index = min(free, key=lambda i: (max(0, width - self.widths[i]), self.widths[i]))
            self.widths[index] = max(self.widths[index], width)
        else:
            index = len(self.widths)
            self.widths.append(width)
        self._busy[value] = index
        return f"a{index}"

    def of(self, value: str) -> str:
        """Where a live value lies."""
        return f"a{self._busy[value]}"

    def holds(self, value: str) -> bool:
        """Whether a value is live."""
        return value in self._busy

    def end(self, value: str) -> None:
        """Frees a value's slot."""
        self._busy.pop(value, None)

    def buffers(self) -> dict[str, dict[str, Any]]:
        """The slots as buffers of a plan."""
        return {f"a{i}": {"size": f"T * {4 * width}"} for i, width in enumerate(self.widths)}


@dataclass(frozen=True, slots=True)
class Cut:
    """Some rows of each of several matrices, in one weight buffer."""

    buffer: str
    segments: tuple[Segment, ...]
    first: int

    @property
    def rows(self) -> int:
        """Rows in all."""
        return sum(segment.rows for segment in self.segments)


class Matrices:
    """The weight buffers of a plan, each made once however many kernels read it."""

    def __init__(self, table: Mapping[str, Matrix], limit: int = BINDING) -> None:
        self._table, self._limit = table, limit
        self.buffers: dict[str, dict[str, Any]] = {}
        self.whole: set[str] = set()  # buffers that a kernel reads as the file has them

    def columns(self, name: str) -> int:
        """Weights a row."""
        return self._entry(name).cols

    def rows(self, name: str) -> int:
        """Rows."""
        return self._entry(name).rows

    def stacked(self, names: Sequence[str]) -> list[Cut]:
        """Matrices below one another, in as few bindings as hold them."""
        cuts: list[list[tuple[str, int, int]]] = [[]]
        room = self._limit
        first: list[int] = [0]
        for name in names:
            at, size = 0, self._row(name)
            while at < self.rows(name):
                fits = min(room // size // 2 * 2, self.rows(name) - at)  # even: whole words
                if fits <= 0 and not cuts[-1]:
                    raise Unsupported(f"two rows of {name} do not fit a binding of {self._limit}")
                if fits <= 0:
                    first.append(first[-1] + sum(part[2] for part in cuts[-1]))
                    cuts.append([])
                    room = self._limit
                    continue
                cuts[-1].append((name, at, fits))
                at += fits
                room -= fits * size + ALIGN
        return [self._cut(parts, start) for parts, start in zip(cuts, first, strict=True)]

    def paired(self, names: Sequence[str]) -> list[Cut]:
        """The same range of rows of several matrices of equal height, in each binding."""
        height = self.rows(names[0])
        most = (self._limit - ALIGN * len(names)) // sum(self._row(name) for name in names)
        each = max(2, most // 2 * 2)  # even, so that a cut begins at a whole word of its matrix
        cuts: list[Cut] = []
        for at in range(0, height, each):
            rows = min(each, height - at)
            cuts.append(self._cut([(name, at, rows) for name in names], at))
        return cuts

    def planes(self, cut: Cut, format: str) -> dict[str, str]:
        """The stack's quants and scales as two buffers of 16 and 2 or 4 bytes a block."""
        name = f"{cut.buffer}.quants"
        if name not in self.buffers:
            parts: list[dict[str, Any]] = self.buffers[cut.buffer]["weights"]
            rows, width = sum(p["rows"] for p in parts), self.columns(parts[0]["tensor"]) // 32
            size = 16 * rows * width
            self.buffers[name] = {"size": str(size), "weights": parts, "plane": "quants"}
            words = width * (-(-rows // 2) if format == "q4_0" else rows)
            kind = "pairs" if format == "q4_0" else "scales"
            scales = {"size": str(4 * words + 16), "weights": parts, "plane": kind}
            self.buffers[f"{cut.buffer}.scales"] = scales
        if cut.buffer not in self.whole:
            self.buffers.pop(cut.buffer, None)
        return {"w": name, "scales": f"{cut.buffer}.scales"}

    def vector(self, *names: str) -> str:
        """Vectors one after another, as float32; the loader widens other floats."""
        key = "+".join(names)
        if key not in self.buffers:
            parts: list[dict[str, Any]] = []
            offset = 0
            for name in names:
                entry = self._entry(name)
                if entry.format not in ("f32", "f16", "bf16"):
                    raise Unsupported(
                        f"vector {name} is {entry.format}", hint="vectors are f32, f16 or bf16"
                    )
                count = entry.rows * entry.cols
                part = {"tensor": name, "row": 0, "rows": entry.rows, "offset": offset}
                parts.append(part if entry.format == "f32" else part | {"widen": entry.format})
                offset += 4 * count
            self.buffers[key] = {"size": str(offset + -offset % 16), "weights": parts}
        return key

    def _cut(self, pieces: Sequence[tuple[str, int, int]], first: int) -> Cut:
        """A buffer of (matrix, first row, rows); `first`: the output row of the first of them."""
        segments: list[Segment] = []
        parts: list[dict[str, Any]] = []
        offset = 0
        for name, at, rows in pieces:
            segments.append(Segment(rows, self._entry(name).format, offset))
            parts.append({"tensor": name, "row": at, "rows": rows, "offset": offset})
            offset += rows * self._row(name)
            offset += -offset % ALIGN
        whole = all(at == 0 and rows == self.rows(name) for name, at, rows in pieces)
        key = "+".join(name for name, _, _ in pieces) + ("" if whole else f"@{pieces[0][1]}")
        # A read of two words may touch the one after the last.
        self.buffers.setdefault(key, {"size": str(offset + 16), "weights": parts})
        return Cut(key, tuple(segments), first)

    def _row(self, name: str) -> int:
        entry = self._entry(name)
        return row_bytes(entry.format, entry.cols)

    def _entry(self, name: str) -> Matrix:
        if name not in self._table:
            raise ModelFormatError(
                "the weights table lacks this tensor",
                at=name,
                hint="export model and weights together",
            )
        return self._table[name]
