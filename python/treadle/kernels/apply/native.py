"""The short way of a handle in the native core, where torch shows its tensors through DLPack.

The core's dispatcher either knows that every guard holds and calls the kernel, or calls the
function that was generated for the same definition, which finds out why and answers. Reading a
tensor's attributes from Python costs 50 to 250 ns each; DLPack's table of C functions shows them
all in about 10 (torch 2.10 and later; without it handles stay as generated).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from treadle import _core
from treadle.errors import TreadleError
from treadle.kernels.apply.calling import torch_dtype
from treadle.kernels.apply.guards import Device
from treadle.kernels.apply.keys import Space
from treadle.kernels.schema import AxisConst, Definition
from treadle.kernels.schema import expression as arithmetic

_KINDS = {"cpu": 1, "cuda": 2}  # as DLPack numbers devices


@dataclass(frozen=True, slots=True)
class Ways:
    """What a call may come to. slow: the generated function. broken, shadowed, none, hit: its."""

    state: list[Any]
    hit: Any
    none: Any
    fallback: Callable[..., Any]
    slow: Callable[..., Any]
    broken: Callable[..., Any]
    shadowed: Callable[..., Any] | None


def shorten(
    d: Definition,
    space: Space,
    device: Device,
    ways: Ways,
    *,
    bound: Mapping[str, Any],
    host: Mapping[str, list[int]],
    trusted: frozenset[str],
    steady: frozenset[str],
    unheld: frozenset[str],
    shadow: int,
) -> Callable[..., Any]:
    """The dispatcher of a definition, or `ways.slow` where there can be none.

    bound: input → what a call passes for it. trusted: inputs that want no gradient for sure.
    steady: inputs that may be parameters, and are remembered. unheld: constraints that no call can
    check.
    """
    import torch

    table = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    wants = getattr(torch.Tensor, "requires_grad", None)
    relations = _relations(d, unheld)
    if table is None or relations is None:
        return ways.slow
    axes = list(d.axes)
    sizes = [a.value if isinstance(a, AxisConst) else -1 for a in d.axes.values()]
    for name, value in bound.items():
        for axis, size in zip(d.inputs[name].shape or (), getattr(value, "shape", ()), strict=True):
            sizes[axes.index(axis)] = size
    known = {axis for axis, size in zip(axes, sizes, strict=True) if size >= 0}
    guards: list[tuple[Any, ...]] = []
    free = [name for name in d.inputs if name not in bound]
    for position, name in enumerate(free):
        tensor = d.inputs[name]
        if tensor.shape is None:
            continue
        dims: list[int] = []
        for axis in tensor.shape:
            slot = axes.index(axis)
            held = axis not in host or isinstance(d.axes[axis], AxisConst)
            dims.append(2 * slot + (axis in known) if held else -1)
            known.add(axis)
        like = torch.empty((), dtype=torch_dtype(tensor.dtype))
        guards.append(
            (position, name in steady, like.is_floating_point() and name not in trusted, like,
             _KINDS[device.kind], device.ordinal, dims)
        )  # fmt: skip
    known |= set(host)
    wanted = {c.size.axis for c in space.coordinates} | {a for r in relations for a in r[:2]}
    if not wanted <= known:
        return ways.slow
    key: list[tuple[int, int, int, int]] = []
    for one in space.coordinates:
        slot, less = (-1, 0) if one.per is None else (axes.index(one.per.axis), one.per.less)
        key.append((axes.index(one.size.axis), one.size.less, slot, less))
    passed = [(free.index(n), None) if n in free else (-1, bound[n]) for n in d.inputs]
    try:
        made: Any = _core.dispatcher(
            torch=(torch.Tensor, torch.nn.Parameter, wants, table),
            calls=(ways.state, ways.hit, ways.none, ways.fallback, ways.slow, ways.broken,
                   ways.shadowed),
            arguments=len(free), shadow=shadow, guards=guards, sizes=sizes,
            host=[(cell, axes.index(axis)) for axis, cell in host.items()],
            relations=[(axes.index(a), axes.index(b), n) for a, b, n in relations],
            key=key, passed=passed,
        )  # fmt: skip
    except (_core.CoreError, RuntimeError, BufferError):
        return ways.slow  # a type that DLPack does not know, more operands than fit
    made.__name__ = made.__qualname__ = d.name
    made.__wrapped__ = ways.fallback
    return made


def _relations(d: Definition, unheld: frozenset[str]) -> list[tuple[str, str, int]] | None:
    """Constraints as (axis, other, n): axis = other + n. None where one is something else."""
    found: list[tuple[str, str, int]] = []
    for text in d.constraints:
        if text in unheld:
            continue
        one = _relation(text)
        if one is None or not {*one[:2]} <= set(d.axes):
            return None
        found.append(one)
    return found


def _relation(text: str) -> tuple[str, str, int] | None:
    try:
        parsed = arithmetic.parse(text)
    except TreadleError:
        return None
    match parsed:
        case ast.Compare(left=ast.Name(a), ops=[ast.Eq()], comparators=[ast.Name(b)]):
            return a, b, 0
        case ast.Compare(
            left=ast.Name(a),
            ops=[ast.Eq()],
            comparators=[ast.BinOp(ast.Name(b), ast.Add() | ast.Sub() as sign, ast.Constant(n))],
        ) if type(n) is int:
            return a, b, n if isinstance(sign, ast.Add) else -n
        case _:
            return None
