"""A resolver that only looks: which definitions a program asks for, and where its time goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from treadle.errors import TreadleError
from treadle.kernels.schema import AxisConst, Definition, sig
from treadle.kernels.store import Dataset


class Watch:
    """Stands where a table stands. Definitions that the dataset lacks are added under a name made
    of their op and sizes. seconds: by definition, what it calls in turn included.

    The clock is read around each call, so it tells where a CPU's time goes, not a GPU's.
    """

    def __init__(self, store: Dataset) -> None:
        self.handles: dict[tuple[str, Callable[..., Any]], Callable[..., Any]] = {}
        self.seconds: dict[str, float] = {}
        self._store = store
        self._adding = threading.Lock()  # a backend makes its nodes in threads
        self._names = {sig(d): name for name, d in store.definitions().items()}

    def clear(self) -> None:
        """Forgets the times."""
        for name in self.seconds:
            self.seconds[name] = 0.0

    def find(self, definition: Definition) -> str | None:
        """The dataset's name of this signature, which it has from now on; None where it cannot."""
        signature = sig(definition)
        with self._adding:
            if signature not in self._names:
                name = _name(definition)
                if name in self._store.definitions():
                    name = f"{name}_{signature[:8]}"
                named = msgspec.structs.replace(definition, name=name)
                try:
                    self._store.add(named)
                except TreadleError:  # nothing that is watched may fail of it
                    return None
                self._names[signature] = name
            return self._names[signature]

    def resolve(
        self,
        name: str,
        fallback: Callable[..., Any],
        *,
        bound: Mapping[str, Any] | None = None,
        host: Mapping[str, list[int]] | None = None,
        trusted: frozenset[str] = frozenset(),
        oracle: Callable[..., Any] | None = None,
    ) -> Callable[..., Any]:
        """As `Resolver.resolve`; the callable is the fallback with a clock around it."""
        del bound, host, trusted, oracle
        seconds, clock = self.seconds, time.perf_counter
        seconds.setdefault(name, 0.0)

        def timed(*operands: Any) -> Any:
            start = clock()
            try:
                return fallback(*operands)
            finally:
                seconds[name] += clock() - start

        return timed


def _name(d: Definition) -> str:
    """Op, attributes that are words, constant axes, type."""
    attrs: Mapping[str, Any] = (d.treadle or {}).get("attrs", {})
    words = [str(v) for v in attrs.values() if isinstance(v, str)]
    numbers = [f"{k}{v:g}" for k, v in attrs.items() if isinstance(v, float)]
    sizes = [f"{n.lower()}{a.value}" for n, a in d.axes.items() if isinstance(a, AxisConst)]
    kind = next(iter(d.outputs.values())).dtype
    return "_".join([d.op_type, *words, *sizes, *numbers, kind])
