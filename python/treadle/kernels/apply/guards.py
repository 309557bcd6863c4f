"""What must hold of a call's operands before a measured kernel may have them."""

from __future__ import annotations

import ast
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from treadle.errors import TreadleError
from treadle.kernels.apply.calling import torch_dtype
from treadle.kernels.schema import AxisConst, Definition, Tensor
from treadle.kernels.schema import expression as arithmetic

Admitted = tuple[Any, ...]
"""A weak reference to an operand that was looked at in full, its sizes, whether it has a grad."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where operands must lie: "cpu", or "cuda" and the ordinal."""

    kind: str
    ordinal: int = 0

    def refuses(self, name: str) -> str:
        """A condition, as text, that is true of a tensor elsewhere."""
        if self.kind == "cpu":
            return f"not {name}.is_cpu"
        return f"{name}.get_device() != {self.ordinal}"

    def holds(self, tensor: Any) -> bool:
        """Whether a tensor lies here."""
        if tensor.device.type != self.kind:
            return False
        return self.kind == "cpu" or tensor.device.index == self.ordinal


def fault(tensor: Tensor, axes: Mapping[str, int | None], value: Any, device: Device) -> str:
    """Why one operand cannot be passed; empty if it can. axes: sizes, None for variable ones."""
    if tensor.shape is None:
        return "" if isinstance(value, int | float) else "no number"
    import torch

    if type(value) not in (torch.Tensor, torch.nn.Parameter):
        return "no plain tensor"
    if value.dim() != len(tensor.shape):
        return f"rank {value.dim()}, not {len(tensor.shape)}"
    for axis, size in zip(tensor.shape, value.shape, strict=True):
        wanted = axes.get(axis)
        if wanted is not None and size != wanted:
            return f"axis {axis} is {size}, not {wanted}"
    if value.dtype != torch_dtype(tensor.dtype):
        return f"dtype {value.dtype}, not {tensor.dtype}"
    if not value.is_contiguous():
        return "not contiguous"
    if not device.holds(value):
        return f"on {value.device}"
    return ""


def constants(d: Definition) -> dict[str, int | None]:
    """Axis → its size, None for a variable one."""
    return {n: a.value if isinstance(a, AxisConst) else None for n, a in d.axes.items()}


def why_refused(d: Definition, operands: tuple[Any, ...], device: Device) -> str:
    """The first reason that a whole call is refused for: a slow second look, for the counters."""
    axes = constants(d)
    for (name, tensor), value in zip(d.inputs.items(), operands, strict=True):
        found = fault(tensor, axes, value, device)
        if found:
            return f"{name}: {found}"
        if tensor.shape is not None:
            axes |= dict(zip(tensor.shape, value.shape, strict=True))
            if value.requires_grad:
                return f"{name}: wants a gradient"
    return "a constraint of the definition"


def admitter(
    tensor: Tensor, axes: Mapping[str, int | None], device: Device, cell: list[Admitted]
) -> Callable[[Any], Admitted | None]:
    """Looks at an operand in full and remembers it in `cell`; None if it is refused.

    For operands that are the same objects call after call (caches, weights, a step's index
    arrays), so that a look at the object's identity replaces five looks at its attributes.
    """

    def admit(value: Any) -> Admitted | None:
        if fault(tensor, axes, value, device):
            return None
        made: Admitted = (weakref.ref(value), *value.shape, value.requires_grad)
        cell[0] = made
        return made

    return admit


def nobody() -> None:
    """Stands for a dead weak reference before the first call."""


_ALLOWED = (
    ast.Compare, ast.BinOp, ast.UnaryOp, ast.Name, ast.Constant, ast.Load, ast.USub,
    ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE,
)  # fmt: skip


def refusal(constraint: str, names: Mapping[str, str]) -> str | None:
    """A condition, as text over `names`, that is true where the constraint does not hold.

    None for one that reads what no call can know without waiting for the device, such as the last
    entry of an index array.
    """
    try:
        parsed = arithmetic.parse(constraint)
    except TreadleError:
        return None
    for node in ast.walk(parsed):
        if not isinstance(node, _ALLOWED):
            return None
        if isinstance(node, ast.Constant) and type(node.value) is not int:
            return None
        if isinstance(node, ast.Name):
            if node.id not in names:
                return None
            node.id = names[node.id]
    return f"not ({ast.unparse(parsed)})"
