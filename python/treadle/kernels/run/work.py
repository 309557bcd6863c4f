"""Bytes a call moves and operations it does: at the least, and as it is meant."""

from __future__ import annotations

import math
from collections.abc import Mapping

from treadle.errors import InvalidRequest
from treadle.graph import OPS
from treadle.kernels.check import dtypes, sizes
from treadle.kernels.schema import Definition, expression

_DENSE = {
    "add", "linear", "rmsnorm", "glu", "scale", "softcap", "rope", "split",
    "add_rmsnorm", "gate_up_glu", "linear_add", "qkv", "rmsnorm_linear", "allreduce_add_rmsnorm",
}  # fmt: skip
"""Ops that read all of every input; of others only the outputs are sure to move."""


def moved(definition: Definition, known: Mapping[str, int]) -> int:
    """Bytes that no call can do without; a definition's own `bytes` formula wins."""
    ours = definition.treadle or {}
    dense = ours.get("op") in _DENSE and "view" not in ours
    return _formula(definition, known) or _bytes(definition, known, inputs=dense)


def touched(definition: Definition, known: Mapping[str, int]) -> int:
    """Bytes of a call that reads all it is pointed to once, for figures: listed pages of a cache
    may be shared and a draw may stop early, so less than this proves nothing."""
    ours = definition.treadle or {}
    listed = "num_pages" in known and "num_kv_indices" in known
    if ours.get("op") == "sample" or (ours.get("op") == "attention" and "view" in ours):
        if listed:
            known = {**known, "num_pages": known["num_kv_indices"]}
        return _formula(definition, known) or _bytes(definition, known, inputs=True)
    return moved(definition, known)


def _formula(definition: Definition, known: Mapping[str, int]) -> int:
    text = (definition.treadle or {}).get("bytes")
    return (
        0
        if text is None
        else int(expression.evaluate(str(text), known, f"{definition.name} bytes"))
    )


def _bytes(definition: Definition, known: Mapping[str, int], *, inputs: bool) -> int:
    groups = [definition.outputs, *([definition.inputs] if inputs else [])]
    return sum(
        sizes.elements(t, known) * dtypes.stored(t.dtype).itemsize
        for group in groups
        for t in group.values()
        if t.shape is not None
    )


def flops(definition: Definition, known: Mapping[str, int]) -> float:
    """Operations by the formula of the definition, in its op's letters; 0 where none is known."""
    ours = definition.treadle or {}
    text = ours.get("flops")
    if not text:
        return 0.0
    letters: dict[str, float] = dict(known)
    op = OPS.get(str(ours.get("op")))
    if op is not None:
        for operand, tensor in zip(op.ins, definition.inputs.values(), strict=False):
            shape = sizes.shape(tensor, known)
            axes = [str(axis) for axis in operand.axes]
            if len(axes) == len(shape):
                letters.update(zip(axes, shape, strict=True))
            elif axes and len(axes) < len(shape):  # leading axes are one letter
                letters.update(zip(axes[::-1], shape[::-1], strict=False))
        first = next(iter(definition.inputs.values()))
        shape = sizes.shape(first, known)
        letters.setdefault("n", math.prod(shape[:-1]))
    try:
        return max(0.0, expression.evaluate(str(text), letters, f"{definition.name} flops"))
    except InvalidRequest:
        return 0.0
