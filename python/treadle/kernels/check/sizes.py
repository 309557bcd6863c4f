"""Sizes of all axes: of a workload, and of the hidden edge trials made from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from treadle.errors import InvalidRequest
from treadle.kernels.check import constraints
from treadle.kernels.schema import AxisConst, AxisExpr, AxisVar, Definition, Tensor, expression

if TYPE_CHECKING:
    import numpy as np

MAX_EDGE = 131
"""An edge trial tests borders, not throughput: its free axes stay at most this long."""


def all_axes(definition: Definition, given: Mapping[str, int]) -> dict[str, int]:
    """Every axis with its size. Raises InvalidRequest for one that cannot be known."""
    sizes: dict[str, int] = {}
    for name, axis in definition.axes.items():
        if isinstance(axis, AxisConst):
            sizes[name] = axis.value
        elif name in given:
            sizes[name] = given[name]
    for name, axis in definition.axes.items():
        if isinstance(axis, AxisExpr):
            value = expression.evaluate(axis.expression, sizes, f"axis {name}")
            sizes[name] = int(value)
        elif name not in sizes:
            raise InvalidRequest(f"axis {name} has no size", at=definition.name, hint="give it")
    return sizes


def shape(tensor: Tensor, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of an operand; a scalar has none."""
    return tuple(sizes[axis] for axis in tensor.shape or ())


def elements(tensor: Tensor, sizes: Mapping[str, int]) -> int:
    """How many numbers an operand holds."""
    return math.prod(shape(tensor, sizes))


def free(definition: Definition) -> list[str]:
    """Variable axes that no constraint and no buffer size settles, in order."""
    fixed = set(settled(definition)) | set((definition.treadle or {}).get("capacity", ()))
    return [
        name
        for name, axis in definition.axes.items()
        if isinstance(axis, AxisVar) and name not in fixed
    ]


def settled(definition: Definition) -> dict[str, str]:
    """Axis → arithmetic over other axes, from constraints of the form `axis == ...`."""
    found: dict[str, str] = {}
    for text in definition.constraints:
        pair = constraints.assigned(text)
        if pair is None or not isinstance(definition.axes.get(pair[0]), AxisVar):
            continue
        try:
            if expression.names(pair[1]) <= set(definition.axes):
                expression.evaluate(pair[1], dict.fromkeys(definition.axes, 1))
                found[pair[0]] = pair[1]
        except InvalidRequest:
            continue  # it reads values, which the generator of those values heeds
    return found


def edges(
    definition: Definition, given: Mapping[str, int], rng: np.random.Generator
) -> Iterator[dict[str, int]]:
    """Variable axes of hidden trials: none and one row, and lengths that no tile divides."""
    names = free(definition)
    if not names:
        return
    first = names[0]
    odd = [3, 7, 17, 33, 65, 129]
    picks = [int(n) for n in rng.choice(odd, 2, replace=False)]
    wanted: list[dict[str, int]] = [{first: 0}, dict.fromkeys(names, 1)]
    wanted += [{first: min(n, MAX_EDGE)} for n in picks]
    for name in names[1:]:
        wanted.append({name: int(rng.choice(odd[:4]))})
    for change in wanted:
        base = {n: v if n not in names else min(v, MAX_EDGE) for n, v in given.items()}
        yield completed(definition, {**base, **change})


def completed(definition: Definition, given: Mapping[str, int]) -> dict[str, int]:
    """The same with the settled axes computed anew."""
    out = dict(given)
    consts = {n: a.value for n, a in definition.axes.items() if isinstance(a, AxisConst)}
    for name, text in settled(definition).items():
        out[name] = int(expression.evaluate(text, {**consts, **out}, f"axis {name}"))
    return out
