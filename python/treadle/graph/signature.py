"""Operand signatures: `"*n D"`, `"O ?"`, `"S+1 i32"`, and the unification of their axis letters.

Grammar of one operand, separated by spaces: an optional `*group` that stands for any number of
leading axes, then axis letters, integers or `S+1`, then an optional dtype (default: the node's
activation dtype, one for all such operands) and an optional `?` (the operand may be left out).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct, field

from treadle.errors import GraphError
from treadle.graph.dims import Dims, Entry, Shape

ACTIVATIONS = ("f32", "f16", "bf16")
DTYPES = (*ACTIVATIONS, "i32")
ACT = "act"

Kind: TypeAlias = "tuple[str, Shape]"
"""dtype and shape of a value."""


class Operand(Struct, frozen=True):
    """One parsed operand: `group` takes the leading axes, `axes` the rest."""

    name: str
    group: str | None
    axes: Shape
    dtype: str
    optional: bool

    @classmethod
    def parse(cls, name: str, text: str) -> Operand:
        """Reads the grammar of this module. Raises ValueError: declarations are our own code."""
        group: str | None = None
        axes: list[Entry] = []
        dtype, optional = ACT, False
        for position, word in enumerate(text.split()):
            if word == "?":
                optional = True
            elif word in DTYPES:
                dtype = word
            elif word.startswith("*"):
                if position:
                    raise ValueError(f"{name}: {word} may only come first")
                group = word[1:]
            else:
                axes.append(int(word) if word.isdecimal() else word)
        return cls(name, group, tuple(axes), dtype, optional)


class Binding(Struct):
    """What the letters of one node stand for, while and after its operands are unified."""

    op: str
    dims: Dims
    at: str
    axes: dict[str, Entry] = field(default_factory=dict[str, Entry])
    groups: dict[str, Shape] = field(default_factory=dict[str, Shape])
    act: str | None = None
    origin: dict[str, str] = field(default_factory=dict[str, str])

    def error(self, message: str, hint: str) -> GraphError:
        """A G05 error that names op and place."""
        return GraphError(f"G05 shapes: {self.op}: {message}", at=self.at or None, hint=hint)

    def unify(self, operand: Operand, kind: Kind) -> None:
        """Binds an operand's letters to an actual shape, or raises GraphError on a clash."""
        dtype, shape = kind
        self._dtype(operand, dtype)
        fixed = len(operand.axes)
        if operand.group is None:
            if len(shape) != fixed:
                raise self._rank(operand, shape)
            tail = shape
        else:
            if len(shape) < fixed:
                raise self._rank(operand, shape)
            self._group(operand, shape[: len(shape) - fixed])
            tail = shape[len(shape) - fixed :]
        for letter, entry in zip(operand.axes, tail, strict=True):
            self._axis(operand, letter, entry)

    def shape(self, operand: Operand) -> Shape:
        """The shape of an output from the bound letters."""
        lead = () if operand.group is None else self.groups[operand.group]
        return lead + tuple(
            letter if isinstance(letter, int) else self.axes[letter] for letter in operand.axes
        )

    def bind(self, letter: str, entry: Entry, origin: str) -> None:
        """Binds a letter that comes from an attr, or checks it against its operand."""
        known = self.axes.get(letter)
        if known is None:
            self.axes[letter] = entry
            self.origin[letter] = origin
        elif known != entry and self.dims.atoms(known) != self.dims.atoms(entry):
            raise self._clash(letter, entry, origin)

    def _axis(self, operand: Operand, letter: Entry, entry: Entry) -> None:
        if isinstance(letter, int):
            if self.dims.atoms(entry) != self.dims.atoms(letter):
                raise self.error(
                    f"{operand.name} must have {letter} where it has {self.dims.show(entry)}",
                    "pass the operand the op table asks for",
                )
        elif letter.endswith("+1"):
            if not (isinstance(entry, str) and entry.endswith("+1")):
                raise self.error(
                    f"{operand.name} must have {letter} where it has {self.dims.show(entry)}",
                    "offsets have one more entry than they describe",
                )
            self.bind(letter[:-2], entry[:-2], operand.name)
        else:
            self.bind(letter, entry, operand.name)

    def _group(self, operand: Operand, lead: Shape) -> None:
        group = operand.group or ""
        known = self.groups.get(group)
        if known is None:
            self.groups[group] = lead
            self.origin[group] = operand.name
        elif known != lead and (
            len(known) != len(lead) or self.dims.flat(known) != self.dims.flat(lead)
        ):
            raise self.error(
                f"leading axes {group} are {self._list(known)} in {self.origin[group]} "
                f"but {self._list(lead)} in {operand.name}",
                "both operands need the same leading shape",
            )

    def _dtype(self, operand: Operand, dtype: str) -> None:
        if operand.dtype != ACT:
            if dtype != operand.dtype:
                raise self.error(
                    f"{operand.name} is {dtype}, must be {operand.dtype}",
                    "pass dtype= where the param is declared",
                )
        elif dtype not in ACTIVATIONS:
            raise self.error(
                f"{operand.name} is {dtype}, must be one of {' '.join(ACTIVATIONS)}",
                "only activations flow through this operand",
            )
        elif self.act is None:
            self.act = dtype
            self.origin[ACT] = operand.name
        elif self.act != dtype:
            raise self.error(
                f"{operand.name} is {dtype} but {self.origin[ACT]} is {self.act}",
                "declare both with the graph's activation dtype",
            )

    def _clash(self, letter: str, entry: Entry, where: str) -> GraphError:
        known = self.axes[letter]
        same = self.dims.size(known) is not None and self.dims.size(known) == self.dims.size(entry)
        hint = (
            "the sizes agree but the names do not, so sharding could divide one alone: use one name"
            if same
            else "one of the two operands has the wrong shape"
        )
        return self.error(
            f"axis {letter} is {self.dims.show(known)} in {self.origin[letter]} "
            f"but {self.dims.show(entry)} in {where}",
            hint,
        )

    def _rank(self, operand: Operand, shape: Shape) -> GraphError:
        wanted = ([f"*{operand.group}"] if operand.group else []) + [str(a) for a in operand.axes]
        return self.error(
            f"{operand.name} has shape {self._list(shape)}, must be [{', '.join(wanted)}]",
            "insert a view, or pass another operand",
        )

    def _list(self, shape: Sequence[Entry]) -> str:
        return "[" + ", ".join(self.dims.show(entry) for entry in shape) + "]"
