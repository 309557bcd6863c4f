"""A built solution as a plain function of the definition's inputs, and operands to warm it with."""

# torch's own annotations are partial, and strict mode reports every gap where it is used.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from treadle.errors import KernelError, Unsupported
from treadle.kernels.apply.compare import outputs
from treadle.kernels.apply.keys import POOLS, space
from treadle.kernels.schema import AxisConst, AxisVar, Definition, Tensor, returned

MAX_WARM = 256 << 20
"""Bytes of operands beyond which a solution is not warmed."""

_ITEM = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "uint32": 4, "float16": 2,
         "bfloat16": 2, "int16": 2}  # fmt: skip


def torch_dtype(name: str) -> Any:
    """torch's type. Raises Unsupported where it has none."""
    import torch

    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise Unsupported(f"torch has no type {name!r}", at="dtype", hint="see its dtypes")
    return found


def places(d: Definition) -> dict[str, tuple[int, int]]:
    """Variable axis → the first input and dimension that show its size."""
    found: dict[str, tuple[int, int]] = {}
    for i, tensor in enumerate(d.inputs.values()):
        if tensor.optional:
            continue
        for dim, axis in enumerate(tensor.shape or ()):
            if isinstance(d.axes[axis], AxisVar):
                found.setdefault(axis, (i, dim))
    return found


def value_returning(
    call: Callable[..., Any], d: Definition, destination_passing: bool
) -> Callable[..., Any]:
    """`call` with outputs as its result instead of last arguments, allocated from input sizes.

    Raises Unsupported for an output whose size no input shows, or which is a scalar.
    """
    if not destination_passing:
        return call
    import torch

    at = places(d)
    made: list[tuple[Callable[[tuple[Any, ...]], tuple[int, ...]], Any]] = []
    for name in returned(d):
        made.append((_shape_maker(d, d.outputs[name], at), torch_dtype(d.outputs[name].dtype)))
    anchor = next((i for i, t in enumerate(d.inputs.values()) if t.shape is not None), None)
    if anchor is None:
        raise Unsupported("no input is a tensor", at=d.name, hint="return outputs instead")
    empty = torch.empty

    def one(*operands: Any) -> Any:
        shape, dtype = made[0]
        out = empty(shape(operands), dtype=dtype, device=operands[anchor].device)
        call(*operands, out)
        return out

    def several(*operands: Any) -> Any:
        device = operands[anchor].device
        outs = tuple(empty(shape(operands), dtype=dtype, device=device) for shape, dtype in made)
        call(*operands, *outs)
        return outs

    def none(*operands: Any) -> None:
        call(*operands)

    return (none, one)[len(made)] if len(made) < 2 else several


def _shape_maker(
    d: Definition, tensor: Tensor, at: Mapping[str, tuple[int, int]]
) -> Callable[[tuple[Any, ...]], tuple[int, ...]]:
    if tensor.shape is None:
        raise Unsupported("an output is a scalar", at=d.name, hint="return it instead")
    sizes: list[int | tuple[int, int]] = []
    for name in tensor.shape:
        axis = d.axes[name]
        if isinstance(axis, AxisConst):
            sizes.append(axis.value)
        elif name in at:
            sizes.append(at[name])
        else:
            raise Unsupported(f"no input shows axis {name!r}", at=d.name, hint="return outputs")

    def shape(operands: tuple[Any, ...]) -> tuple[int, ...]:
        return tuple(
            size if isinstance(size, int) else operands[size[0]].shape[size[1]] for size in sizes
        )

    return shape


def zeros(d: Definition, axes: Mapping[str, int], device: str) -> list[Any] | None:
    """Operands of zeros, which is safe for every index; None where they would be too large.

    Buffer sizes are 1 where no other operand needs more. Raises Unsupported for an unknown type.
    """
    import torch

    sizes = {n: a.value if isinstance(a, AxisConst) else axes.get(n, 1) for n, a in d.axes.items()}
    counted = {c.size.axis for c in space(d).coordinates}
    for name in (POOLS | set((d.treadle or {}).get("capacity", ()))) - counted:
        sizes[name] = 1
    operands: list[Any] = []
    total = 0
    for tensor in d.inputs.values():
        if tensor.shape is None:
            operands.append(1.0 if tensor.dtype.startswith(("float", "bfloat")) else 1)
            continue
        shape = tuple(sizes[axis] for axis in tensor.shape)
        total += math.prod(shape) * _ITEM.get(tensor.dtype, 1)
        if total > MAX_WARM:
            return None
        operands.append(torch.zeros(shape, dtype=torch_dtype(tensor.dtype), device=device))
    return operands


def warm(call: Callable[..., Any], d: Definition, axes: Mapping[str, int], device: str) -> str:
    """Calls once on zeros and looks at what comes back. Returns a remark, empty if it was run.

    Raises KernelError where the outputs are not what the definition says.
    """
    operands = zeros(d, axes, device)
    if operands is None:
        return "not warmed: its operands are too large"
    made = call(*operands)
    wanted = returned(d)
    outs = outputs(made)[: None if wanted else 0]
    if len(outs) != len(wanted) or (len(wanted) == 1 and outs[0] is not made):
        raise KernelError(f"{len(outs)} outputs as {type(made).__name__}, {len(wanted)} wanted",
                          at=d.name)  # fmt: skip
    for name, out in zip(wanted, outs, strict=True):
        tensor = d.outputs[name]
        if tensor.shape is not None and out.dtype != torch_dtype(tensor.dtype):
            raise KernelError(f"{name} is {out.dtype}, {tensor.dtype} wanted", at=d.name)
        if tensor.shape is not None and not _fits(d, tensor.shape, out.shape):
            raise KernelError(f"{name} has shape {tuple(out.shape)}", at=d.name)
    return ""


def _fits(d: Definition, axes: Sequence[str], sizes: Sequence[int]) -> bool:
    """Whether rank and constant axes are the declared ones."""
    wanted = [d.axes[name] for name in axes]
    return len(wanted) == len(sizes) and all(
        not isinstance(axis, AxisConst) or axis.value == size
        for axis, size in zip(wanted, sizes, strict=True)
    )


def capturable(call: Callable[..., Any], operands: list[Any]) -> str:
    """Captures one call in a CUDA graph and replays it; why that failed, empty if it did not.

    Called once when a solution is built for CUDA: one that synchronises or works on a stream of
    its own fails here and not in the middle of the engine's capture.
    """
    import torch

    try:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            call(*operands)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads may place weights meanwhile: their calls are none of this capture's.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            call(*operands)
        graph.replay()
        torch.cuda.synchronize()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:400]
    return ""
