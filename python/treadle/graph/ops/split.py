"""split: the last axis in consecutive parts; free, lowered to offsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.graph.dims import Dims, Shape
from treadle.graph.op import Attrs, op, parallel
from treadle.graph.signature import Kind

split = op(
    "split",
    ins={"x": "*n D"},
    outs={"parts": "*n D"},
    attrs={"sizes": "dims"},
    roles={"n": parallel, "D": parallel},
    additive=("x",),
    free=True,
)


@split.shapes
def _(dims: Dims, kinds: Sequence[Kind], attrs: Attrs) -> list[Shape]:
    shape, sizes = kinds[0][1], attrs["sizes"]
    assert isinstance(sizes, tuple)
    numbers = dims.sizes(sizes)
    whole = dims.size(shape[-1])
    if None in numbers or whole is None or sum(n or 0 for n in numbers) != whole:
        shown = " + ".join(dims.show(size) for size in sizes)
        raise ValueError(f"sizes {shown} do not add up to {dims.show(shape[-1])}")
    return [(*shape[:-1], size) for size in sizes]


@split.reference
def _(xp: Any, x: Any, *, sizes: Sequence[int]) -> Any:
    """x […, D] -> parts […, sizes[j]] in order."""
    del xp
    parts: list[Any] = []
    at = 0
    for size in sizes:
        parts.append(x[..., at : at + size])
        at += size
    return tuple(parts)
