"""Which sizes of a definition decide between kernels, and as what numbers.

Variable axes count, except buffer sizes (capacities) and axes that others fix. A load, such as the
total of all KV lengths, counts per sequence, so that a batch of eight like requests is one request
eight times. All comparisons are of ratios: coordinates live in log2 space.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from treadle.kernels.schema import AxisVar, Definition

POOLS = frozenset({"num_pages", "max_num_pages", "max_seq_len", "P"})
"""Names that mean a buffer's size wherever a definition does not say `capacity` itself."""

_SUM = re.compile(r"(\w+) == (\w+)\[-1\]\.item\(\)")
_DERIVED = re.compile(r"(\w+) == (\w+)(?: \+ (\d+))?")


@dataclass(frozen=True, slots=True)
class Size:
    """An axis less a constant: `len_indptr - 1` is the number of sequences."""

    axis: str
    less: int = 0

    def of(self, axes: Mapping[str, int]) -> int:
        """Its value."""
        return axes[self.axis] - self.less


@dataclass(frozen=True, slots=True)
class Coordinate:
    """One number of a key: a size, or a load per sequence."""

    size: Size
    per: Size | None = None

    def of(self, axes: Mapping[str, int]) -> float:
        """Its value; 0 where there is nothing to divide by."""
        value = self.size.of(axes)
        if self.per is None:
            return float(value)
        count = self.per.of(axes)
        return value / count if count > 0 else 0.0

    @property
    def label(self) -> str:
        """As a person reads it."""
        name = self.size.axis + (f"-{self.size.less}" if self.size.less else "")
        return name if self.per is None else f"{name} per {self.per.axis}"


@dataclass(frozen=True, slots=True)
class Space:
    """Coordinates of a definition's keys, and the axes that follow from others.

    derived: (axis, other axis, n) where axis = other + n.
    """

    coordinates: tuple[Coordinate, ...]
    derived: tuple[tuple[str, str, int], ...]

    def key(self, axes: Mapping[str, int]) -> tuple[float, ...]:
        """The key of a workload or call."""
        return tuple(c.of(axes) for c in self.coordinates)

    @property
    def label(self) -> str:
        """Names of the coordinates."""
        return ", ".join(c.label for c in self.coordinates) or "(no variable axis)"


def space(d: Definition) -> Space:
    """The key space of a definition."""
    var = [name for name, axis in d.axes.items() if isinstance(axis, AxisVar)]
    derived: dict[str, tuple[str, int]] = {}
    loads: dict[str, str] = {}  # axis -> axis of the index array whose last entry it is
    for text in d.constraints:
        total, plain = _SUM.fullmatch(text), _DERIVED.fullmatch(text)
        if total is not None and total[1] in var and total[2] in d.inputs:
            shape = d.inputs[total[2]].shape
            if shape is not None and len(shape) == 1 and shape[0] in var:
                loads[total[1]] = shape[0]
        elif plain is not None and plain[1] in var and plain[2] in var and plain[1] != plain[2]:
            derived[plain[1]] = (plain[2], int(plain[3] or 0))
    ours = d.treadle or {}
    buffers = POOLS | set(ours.get("capacity", ())) - set(loads)

    def sequences(axis: str) -> Size:
        if axis in derived:
            other, n = derived[axis]
            return Size(other, n - 1)
        return Size(axis, 1)

    counts = {axis: sequences(pointer) for axis, pointer in loads.items()}
    found: list[Coordinate] = [Coordinate(size) for size in dict.fromkeys(counts.values())]
    found += [Coordinate(Size(axis), counts[axis]) for axis in var if axis in loads]
    used = {size.axis for size in counts.values()} | set(loads) | set(loads.values())
    found += [
        Coordinate(Size(axis))
        for axis in var
        if axis not in used and axis not in buffers and axis not in derived
    ]
    fixed = tuple((axis, other, n) for axis, (other, n) in derived.items())
    return Space(tuple(found), fixed)
