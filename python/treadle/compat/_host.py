"""Checks that a host's interface is the one an adapter was written for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, cast

from treadle.errors import Unsupported


def check_members(host: Any, known: Iterable[str], mine: Any, at: str) -> None:
    """Refuses a host class with a public name that is not known, or one that `mine` lacks.

    A new name may carry a constraint, and a constraint must not be dropped in silence.
    """
    public = {name for name in dir(host) if not name.startswith("_")}
    unknown = sorted(public - set(known))
    if unknown:
        raise Unsupported(
            f"the host has {unknown[0]!r}, which this adapter does not know",
            at=at,
            hint="use a host version that treadle's documentation names",
        )
    needed: frozenset[str] = getattr(host, "__abstractmethods__", frozenset())
    missing = sorted(name for name in needed if not hasattr(mine, name))
    if missing:
        raise Unsupported(f"the host needs {missing[0]!r}", at=at)


def check_fields(value: Any, known: Iterable[str], at: str, prefix: str = "") -> None:
    """Refuses an object with a field that is not known, unless that field has its default."""
    allowed = set(known)
    for name, now, usual in _fields(value):
        if not name.startswith(prefix) or name.startswith("_") or name in allowed:
            continue
        if now is usual or now == usual:
            continue
        raise Unsupported(
            f"{name}={now!r} is not known to this adapter, and it may be a constraint",
            at=f"{at}.{name}",
            hint="leave it at its default, or use a host version that the documentation names",
        )


def _fields(value: Any) -> list[tuple[str, Any, Any]]:
    """(name, value, default); a field without default counts as set."""
    missing = dataclasses.MISSING
    if dataclasses.is_dataclass(value):
        return [
            (f.name, getattr(value, f.name), None if f.default is missing else f.default)
            for f in dataclasses.fields(value)
        ]
    held = cast(dict[str, Any], vars(value))
    return [(name, now, None) for name, now in held.items()]
