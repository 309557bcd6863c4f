"""A winner that transforms its weights once: at load, for every set of weights that is bound.

What it made of a set is found by the identity of the tensors, and goes when they go. Handles whose
weights are not bound never get such a winner: it was not measured with the transformation in every
call. A bound weight that is changed in place keeps what was made of it before.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from treadle.kernels.apply.calling import value_returning
from treadle.kernels.schema import Definition, weights


class Prepared:
    """A function of the definition's inputs, for weights that were shown to `add` before.

    raw: what the builder loaded, with `prepare` and `run`.
    """

    def __init__(self, raw: Any, d: Definition, destination_passing: bool) -> None:
        self._prepare: Callable[..., Any] = raw.prepare
        self._run = value_returning(raw.run, d, destination_passing)
        self._at = weights(d)
        self._made: dict[tuple[int, ...], Any] = {}

    def add(self, given: Sequence[Any]) -> None:
        """Prepares weights, in call order. Raises whatever the solution raises."""
        key = tuple(map(id, given))
        if key in self._made:
            return
        self._made[key] = self._prepare(*given)
        for one in given:  # an identity may be another tensor's afterwards
            weakref.finalize(one, self._made.pop, key, None).atexit = False

    def add_of(self, operands: Sequence[Any]) -> None:
        """`add` for the weights among all operands of a call."""
        self.add([operands[i] for i in self._at])

    def once(self, *operands: Any) -> Any:
        """A call that prepares for itself alone."""
        return self._run(*operands, self._prepare(*[operands[i] for i in self._at]))

    def __call__(self, *operands: Any) -> Any:
        return self._run(*operands, self._made[tuple([id(operands[i]) for i in self._at])])
