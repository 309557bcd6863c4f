"""Named dimensions: constants, products of others, and run-time sizes without a value.

A shape is a tuple of dim names, positive integers, or the one derived form `S+1`. Two entries are
the same dimension when their *atoms* agree: the ordered list of undivided names behind them, so
`Hd` equals `("H", "d")` but never `D`, even where both happen to be 576. Sharding divides atoms;
names that merely share a number must not be mixed up.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, TypeAlias

from treadle.errors import GraphError

Entry: TypeAlias = "str | int"
Shape: TypeAlias = "tuple[str | int, ...]"
Size: TypeAlias = "int | tuple[str | int, ...] | None"

RUN_TIME = ("T", "S", "R", "L", "P")
"""Sizes known only when a batch runs: tokens, sequences, wanted rows, pages a sequence, pool."""

MAX_SIZE = 1 << 48
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,63}")


class Dims(Mapping[str, Size]):
    """A checked, immutable table of dims. Raises GraphError (G04) for a bad name, size or cycle.

    `memo` keeps what depends on nothing but the dims and a hashable key, such as the shapes an op
    gives for certain operands: layers repeat, so a graph asks the same few questions over and over.
    """

    __slots__ = ("_atoms", "_table", "memo")

    def __init__(self, table: Mapping[str, Size]) -> None:
        self._table: dict[str, Size] = dict.fromkeys(RUN_TIME) | dict(table)
        self._atoms: dict[Entry, tuple[Entry, ...]] = {}
        self.memo: dict[Hashable, Any] = {}
        for name, size in self._table.items():
            _check(name, size)
        for name in self._table:
            self.atoms(name)
            self.size(name)

    def __getitem__(self, name: str) -> Size:
        return self._table[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        return f"Dims({self._table!r})"

    def atoms(self, entry: Entry) -> tuple[Entry, ...]:
        """The ordered undivided factors of an entry; ones are dropped."""
        found = self._atoms.get(entry)
        if found is None:
            found = self._atoms[entry] = self._expand(entry, ())
        return found

    def flat(self, shape: Shape) -> tuple[Entry, ...]:
        """The atoms of a whole shape in order: equal for shapes that are views of each other."""
        return tuple(atom for entry in shape for atom in self.atoms(entry))

    def size(self, entry: Entry, run: Mapping[str, int] | None = None) -> int | None:
        """The number behind an entry; None if it holds a run-time dim that `run` does not give."""
        total = 1
        for atom in self.atoms(entry):
            if isinstance(atom, int):
                total *= atom
                continue
            plus = atom.endswith("+1")
            name = atom[:-2] if plus else atom
            value = self._table[name]
            if value is None:
                value = None if run is None else run.get(name)
            if not isinstance(value, int):
                return None
            total *= value + plus
        if total > MAX_SIZE:
            raise GraphError(
                f"G04 dims: {entry!r} is {total}, beyond 2^48", hint="check the model's sizes"
            )
        return total

    def sizes(self, shape: Shape, run: Mapping[str, int] | None = None) -> tuple[int | None, ...]:
        """`size` of every entry."""
        return tuple(self.size(entry, run) for entry in shape)

    def show(self, entry: Entry) -> str:
        """`D (576)` for people; a run-time dim is its bare name."""
        if isinstance(entry, int):
            return str(entry)
        size = self.size(entry)
        return entry if size is None else f"{entry} ({size})"

    def _expand(self, entry: Entry, path: tuple[str, ...]) -> tuple[Entry, ...]:
        if isinstance(entry, int):
            if not 0 < entry <= MAX_SIZE:
                raise GraphError(f"G04 dims: size {entry} is not positive", hint="sizes start at 1")
            return () if entry == 1 else (entry,)
        if entry in path:
            raise GraphError(
                f"G04 dims: {' = '.join((*path, entry))} goes in a circle",
                hint="define a product from dims that hold numbers",
            )
        name = entry[:-2] if entry.endswith("+1") else entry
        if name not in self._table or (name != entry and self._table[name] is not None):
            raise GraphError(
                f"G04 dims: {entry!r} is not a dim of this graph",
                hint=f"add it to dims, which has {', '.join(self._table)}",
            )
        value = self._table[name]
        if not isinstance(value, tuple):
            return (entry,)
        return tuple(a for part in value for a in self._expand(part, (*path, entry)))


def _check(name: str, size: Size) -> None:
    if not _NAME.fullmatch(name):
        raise GraphError(
            f"G04 dims: {name!r} cannot name a dim", hint="use letters, digits, '_' and '.'"
        )
    if name in RUN_TIME and size is not None:
        raise GraphError(
            f"G04 dims: {name} is a run-time dim and got {size!r}", hint="leave its size out"
        )
    if name not in RUN_TIME and size is None:
        raise GraphError(
            f"G04 dims: {name} has no size",
            hint=f"only {' '.join(RUN_TIME)} are sized when a batch runs",
        )
    if isinstance(size, int) and (isinstance(size, bool) or not 0 < size <= MAX_SIZE):
        raise GraphError(f"G04 dims: {name} is {size}", hint="sizes are 1 to 2^48")
    if size == ():
        raise GraphError(f"G04 dims: {name} is an empty product", hint="name its factors")
