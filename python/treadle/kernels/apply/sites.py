"""Call sites of other libraries: patched while a table is enabled, restored exactly after.

Nothing is left in a call's way when no table is enabled: the attribute is the library's own again.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from treadle.errors import InvalidRequest
from treadle.kernels.apply.table import Resolver

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Site:
    """One attribute of a module, class or object.

    make(original, table): what stands there while the table is enabled; it calls `original` for
    whatever the table does not take.
    """

    owner: Any
    name: str
    make: Callable[[Callable[..., Any], Resolver], Callable[..., Any]]


class _Patch(NamedTuple):
    site: Site
    raw: Any  # what the owner's own namespace held: a plain attribute look-up would bind it
    mine: Any


_current: list[Any] = []  # resolvers, the last one counts


@contextlib.contextmanager
def enabled(table: Resolver, sites: Iterable[Site] = ()) -> Generator[Resolver]:
    """Makes `apply` use a table and patches sites; nests. Raises InvalidRequest for a site that is
    not there, before anything is patched."""
    wanted = list(sites)
    for site in wanted:
        if not callable(getattr(site.owner, site.name, None)):
            raise InvalidRequest(
                f"{site.owner!r} has no function {site.name!r}", at="sites",
                hint="use a version of the library that the adapter names",
            )  # fmt: skip
    done: list[_Patch] = []
    _current.append(table)
    try:
        for site in wanted:
            raw = _own(site.owner).get(site.name, _MISSING)
            mine = site.make(getattr(site.owner, site.name), table)
            setattr(site.owner, site.name, mine)
            done.append(_Patch(site, raw, _own(site.owner).get(site.name)))
        yield table
    finally:
        for patch in reversed(done):
            _restore(patch)
        for i in range(len(_current) - 1, -1, -1):
            if _current[i] is table:
                del _current[i]
                break


def apply(name: str, *operands: Any, fallback: Callable[..., Any]) -> Any:
    """Calls the winner for a definition, or the fallback: for code outside treadle.

    operands: the definition's inputs in order. With no table enabled this is one test and the
    fallback. Handles are kept by (table, name, fallback): pass the same function each time.
    """
    if not _current:
        return fallback(*operands)
    try:
        found = _current[-1].handles[name, fallback]
    except (KeyError, AttributeError):
        found = _resolved(_current[-1], name, fallback)
    return found(*operands)


MAX_HANDLES = 4096
"""A caller that makes a new fallback at every call must not grow memory without end."""


def _resolved(table: Any, name: str, fallback: Callable[..., Any]) -> Callable[..., Any]:
    kept = getattr(table, "handles", None)
    if kept is None:
        raise InvalidRequest("this resolver keeps no handles", hint="give it a dict `handles`")
    if len(kept) >= MAX_HANDLES:
        kept.clear()
    found = kept[name, fallback] = table.resolve(name, fallback)
    return found


def _own(owner: Any) -> Any:
    return getattr(owner, "__dict__", {})


def _restore(patch: _Patch) -> None:
    owner, name = patch.site.owner, patch.site.name
    if _own(owner).get(name) is not patch.mine:
        warnings.warn(
            f"{owner!r}.{name} was patched by somebody else meanwhile and is left alone",
            stacklevel=3,
        )
        return
    if patch.raw is _MISSING:
        delattr(owner, name)
    else:
        setattr(owner, name, patch.raw)
