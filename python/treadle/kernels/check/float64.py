"""Runs foreign torch text in float64: every request for a 16- or 32-bit float becomes 64.

float8 casts stay, they carry meaning. Imported only where a definition has no reference of ours.
"""

# torch's own annotations are loose; what strict mode cannot see is checked by the tests.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeArgument=false
# pyright: reportUnknownParameterType=false, reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from treadle.errors import KernelError

_RAISED = {
    torch.float32: torch.float64,
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
}
_METHODS = {
    torch.Tensor.float: torch.float64,
    torch.Tensor.half: torch.float64,
    torch.Tensor.bfloat16: torch.float64,
}
_RESTORED = ("view",)  # of bytes: the words of the file decide


class Float64(TorchFunctionMode):
    """Within it, no operation gives a float narrower than 64 bits, except from a float8."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in _METHODS:
            return args[0].to(_METHODS[func])
        name = getattr(func, "__name__", "")
        if name not in _RESTORED:
            args = tuple(_raised(value) for value in args)
            given = {key: _raised(value) for key, value in given.items()}
        return _wide(func(*args, **given))


def _raised(value: Any) -> Any:
    return _RAISED.get(value, value) if isinstance(value, torch.dtype) else value


def _wide(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype in _RAISED:
        return value.to(torch.float64)
    if isinstance(value, tuple) and any(isinstance(v, torch.Tensor) for v in value):
        parts = [_wide(v) for v in value]
        return tuple(parts) if type(value) is tuple else value
    return value


def load(reference: str, name: str) -> Callable[..., Any]:
    """The `run` of a definition's reference. Raises KernelError where its text does not run.

    A definition is trusted: who writes it decides what is right.
    """
    space: dict[str, Any] = {"__name__": f"reference_of_{name}"}
    try:
        exec(compile(reference, f"<reference of {name}>", "exec"), space)  # noqa: S102
        return space["run"]
    except Exception as problem:
        raise KernelError(
            f"the reference does not load: {problem}", at=name, hint="correct the definition"
        ) from problem


def tensor(value: Any, dtype: str) -> Any:
    """A torch tensor over stored numpy memory; numbers stay numbers."""
    if not isinstance(value, np.ndarray):
        return value
    plain = torch.from_numpy(np.ascontiguousarray(value).copy())
    return plain.view(getattr(torch, dtype)) if plain.dtype != _torch(dtype) else plain


def placed(value: Any, dtype: str, device: str, inner: type[Any]) -> Any:
    """A tensor on a device, floats as float32 or float64."""
    made = tensor(value, dtype).to(device)
    return made.to(getattr(torch, inner.__name__)) if made.is_floating_point() else made


def run(
    function: Callable[..., Any],
    inputs: Mapping[str, Any],
    kinds: Mapping[str, str],
    *,
    wide: bool,
    device: str = "cpu",
    into: Sequence[int] = (),
) -> tuple[Any, ...]:
    """Outputs as float64 or integer numpy arrays. wide: under `Float64`, inputs widened too. into:
    of each output, the input that it is written into, -1 for one that is returned; a function may
    return those it has written as well."""
    given = [tensor(value, kinds[name]) for name, value in inputs.items()]
    given = [g.to(device) if isinstance(g, torch.Tensor) else g for g in given]
    with torch.no_grad():
        if wide:
            given = [
                g.to(torch.float64) if isinstance(g, torch.Tensor) and g.dtype in _RAISED else g
                for g in given
            ]
            with Float64():
                made = function(*given)
        else:
            made = function(*given)
    parts = list(made) if isinstance(made, tuple | list) else [] if made is None else [made]
    if len(parts) != len(into) and len(parts) == sum(i < 0 for i in into):
        own = iter(parts)
        parts = [given[i] if i >= 0 else next(own) for i in into]
    return tuple(_array(part) for part in parts)


def _array(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return np.asarray(value)
    value = value.detach().cpu().contiguous()
    return (value.double() if value.is_floating_point() else value).numpy()


def _torch(dtype: str) -> Any:
    return getattr(torch, dtype)
