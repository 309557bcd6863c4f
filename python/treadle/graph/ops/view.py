"""view: the same elements under another shape; free, lowered to offsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.graph.dims import Dims, Shape
from treadle.graph.op import Attrs, op, parallel
from treadle.graph.signature import Kind

view = op(
    "view",
    ins={"x": "*n"},
    outs={"y": "*shape"},
    attrs={"shape": "dims"},
    roles={"n": parallel, "shape": parallel},
    additive=("x",),
    free=True,
)


@view.shapes
def _(dims: Dims, kinds: Sequence[Kind], attrs: Attrs) -> list[Shape]:
    source, shape = kinds[0][1], attrs["shape"]
    assert isinstance(shape, tuple)
    if dims.flat(source) != dims.flat(shape):
        raise ValueError(
            f"[{', '.join(map(dims.show, source))}] cannot be seen as "
            f"[{', '.join(map(dims.show, shape))}]: the factors differ"
        )
    return [shape]


@view.reference
def _(xp: Any, x: Any, *, shape: Sequence[int]) -> Any:
    """x […] -> y [shape], row-major."""
    return xp.reshape(x, tuple(shape))
