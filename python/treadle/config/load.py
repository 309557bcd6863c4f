"""From arguments to one frozen config object, every value with its origin."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from treadle.config.option import Option, options_of
from treadle.config.sources import (
    Given,
    check_environment,
    from_environment,
    from_file,
    from_flags,
    strangers,
)
from treadle.errors import InvalidRequest

T = TypeVar("T", bound=Struct)
DEBUG_SWITCHES = ("graph", "plan", "schedule", "apply")


def parse(
    command: type[T],
    arguments: Sequence[str],
    *,
    prog: str,
    environment: Mapping[str, str] | None = None,
) -> T:
    """A `command` Struct from flags, environment, file and defaults, in that order.

    `--print-config` prints every value with its origin and exits. Raises InvalidRequest that
    names the flag, variable or file key.
    """
    options = options_of(command)
    variables = os.environ if environment is None else environment
    debug_switches(variables)
    own = {item.variable for item in options}
    if strangers(variables, own):  # of another command, or of none
        from treadle.config.services import COMMANDS

        others = {item.variable for kind in COMMANDS for item in options_of(kind)}
        check_environment(variables, own | others)
    flags, words = from_flags(options, arguments, prog, (command.__doc__ or "").strip())
    path = words.get("config") or variables.get("TREADLE_CONFIG")
    given = {
        **(from_file(options, path) if path else {}),
        **from_environment(options, variables),
        **flags,
    }
    if words.get("print_config"):
        print(describe(options, given))
        sys.exit(0)
    missing = [item for item in options if item.required and item.name not in given]
    if missing:
        raise InvalidRequest("is required", at=missing[0].metavar or missing[0].flag)
    return command(**{name: entry.value for name, entry in given.items()})


def describe(options: Sequence[Option], given: Mapping[str, Given]) -> str:
    """One line an option: name, value, origin. Secrets show only that they are set."""
    rows: list[tuple[str, str, str]] = []
    for item in options:
        entry = given.get(item.name)
        value: Any = entry.value if entry else (None if item.required else item.default)
        shown = "***" if item.secret and value is not None else repr(value)
        rows.append((item.name, shown, entry.origin if entry else "default"))
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    return "\n".join(f"{n:{widths[0]}}  {v:{widths[1]}}  {o}" for n, v, o in rows)


def debug_switches(variables: Mapping[str, str] | None = None) -> frozenset[str]:
    """The switches of TREADLE_DEBUG. Raises InvalidRequest for one that does not exist."""
    text = (os.environ if variables is None else variables).get("TREADLE_DEBUG", "")
    switches = frozenset(word.strip() for word in text.split(",") if word.strip())
    unknown = sorted(switches - set(DEBUG_SWITCHES))
    if unknown:
        raise InvalidRequest(
            f'no switch "{unknown[0]}"', at="TREADLE_DEBUG", hint=f"use {', '.join(DEBUG_SWITCHES)}"
        )
    return switches
