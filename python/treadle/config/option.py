"""One option of a command: a field of a Struct whose annotation says everything about it."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal

from msgspec import NODEFAULT, Struct
from msgspec.structs import replace

from treadle.errors import InvalidRequest


class Option(Struct, frozen=True):
    """Name, type and range of one option; `name` is the key in files, `flag` on the command line.

    `low` and `high` bound numbers (inclusive). `secret` options have no flag: a process list would
    show them. `positional` ones come without a flag.
    """

    name: str
    kind: type
    default: Any
    help: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    secret: bool = False
    positional: bool = False
    metavar: str = ""

    @property
    def flag(self) -> str:
        """`--max-tokens` for `max_tokens`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """`TREADLE_MAX_TOKENS` for `max_tokens`."""
        return "TREADLE_" + self.name.upper()

    @property
    def required(self) -> bool:
        """Whether a value has to be given."""
        return self.default is NODEFAULT

    def read(self, value: Any, origin: str) -> Any:
        """`value` (text from a flag or variable, or a file's value) as the option's type.

        Raises InvalidRequest whose place is `origin` (a flag, variable or file key).
        """
        read = self._convert(value, origin)
        if self.choices and read not in self.choices:
            raise InvalidRequest(
                f'"{read}" is not known', at=origin, hint=f"use one of {', '.join(self.choices)}"
            )
        if isinstance(read, int | float) and not isinstance(read, bool):
            self._check_range(read, origin)
        return read

    def _convert(self, value: Any, origin: str) -> Any:
        if value is None:
            return None
        if self.kind is bool:
            return _boolean(value, origin)
        if self.kind in (int, float):
            if isinstance(value, bool):
                raise InvalidRequest(f"expected a number, got {value}", at=origin)
            what = "a whole number" if self.kind is int else "a number"
            try:
                read = self.kind(value)
            except (TypeError, ValueError, OverflowError):
                raise InvalidRequest(f'expected {what}, got "{value}"', at=origin) from None
            if isinstance(value, float) and read != value == value:  # int() would cut 80.7 to 80
                raise InvalidRequest(f'expected {what}, got "{value}"', at=origin)
            return read
        if not isinstance(value, str):
            raise InvalidRequest(f"expected text, got {value!r}", at=origin)
        return value

    def _check_range(self, value: float, origin: str) -> None:
        low, high = self.low, self.high
        inside = (low is None or value >= low) and (high is None or value <= high)
        if inside and value == value:  # NaN is outside of everything
            return
        bounds = f"{low if low is not None else '-inf'} to {high if high is not None else 'inf'}"
        unit = f" {self.unit}" if self.unit else ""
        raise InvalidRequest(f"{value:g} is out of range", at=origin, hint=f"use {bounds}{unit}")


def option(
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    secret: bool = False,
    positional: bool = False,
    metavar: str = "",
) -> Option:
    """What `Annotated` says of a field that is an option; see `Option` for the arguments. Name,
    type and default are the field's."""
    return Option(
        "", object, NODEFAULT, help, unit, low, high, choices, secret, positional, metavar
    )  # fmt: skip


def options_of(command: type[Struct]) -> tuple[Option, ...]:
    """The options of a config Struct, in the order of its fields."""
    hints = typing.get_type_hints(command, include_extras=True)
    names, usual = command.__struct_fields__, command.__struct_defaults__
    defaults = dict(zip(names[len(names) - len(usual) :], usual, strict=True))
    return tuple(
        replace(
            hints[name].__metadata__[0],
            name=name,
            kind=_plain(hints[name].__origin__),
            default=defaults.get(name, NODEFAULT),
        )
        for name in names
    )


def _plain(hint: Any) -> type:
    """int for `int | None`, str for a Literal of texts."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    return str if typing.get_origin(hint) is Literal else hint


def _boolean(value: Any, origin: str) -> bool:
    if isinstance(value, bool):
        return value
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise InvalidRequest(f'expected true or false, got "{value}"', at=origin)
