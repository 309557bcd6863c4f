"""A choice held still for a CUDA graph: one pointer, no dispatch, and a flag that says it is old.

A captured graph replays the very kernel that was captured. So the choice is made once a bucket of
sizes, with the bucket's upper bounds, before capture; when the table would choose otherwise later,
`stale` tells, and the owner captures anew at an idle step. Solutions that cannot be captured are
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from treadle.kernels.apply import regions
from treadle.kernels.apply.core import Core
from treadle.kernels.apply.table import Table


class Frozen:
    """`call` takes all inputs of the definition, or is the fallback. Valid until `stale`."""

    __slots__ = ("_core", "_fallback", "_key", "call")

    def __init__(
        self, core: Core | None, key: tuple[float, ...], fallback: Callable[..., Any]
    ) -> None:
        self._core, self._key, self._fallback = core, key, fallback
        self.call: Callable[..., Any] = self._choose()

    @property
    def stale(self) -> bool:
        """Whether the table would choose otherwise by now: a swap, or a breaker that opened."""
        return self._choose() is not self.call

    def _choose(self) -> Callable[..., Any]:
        core = self._core
        if core is None or any(value <= 0 for value in self._key):
            return self._fallback
        found = regions.find(core.unbound[0], self._key)
        entry = None if found is None else core.entry_of(found)
        if entry is None or entry.call is None or entry.capturable is False:
            return self._fallback
        return entry.call


def freeze(
    table: Table, name: str, bounds: Mapping[str, int], fallback: Callable[..., Any]
) -> Frozen:
    """The choice for a bucket whose sizes are at most `bounds` (axis → size).

    Raises NotFound for an unknown definition.
    """
    definition = table.definition(name)
    core = table.core(definition.name)
    return Frozen(core, () if core is None else core.space.key(bounds), fallback)
