"""One array vocabulary for references: the array API standard's names over numpy and torch.

References are written once against these ~25 functions. numpy (from 1.26) lacks some of the
standard's names and torch spells others differently; nothing else is papered over. torch is never
imported here: the caller passes the module.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any


class NumpySpace:
    """numpy under standard names; what is not defined here is numpy's own."""

    def __init__(self, module: Any) -> None:
        self._np = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._np, name)

    def astype(self, x: Any, dtype: Any) -> Any:
        return x.astype(dtype, copy=False)

    def concat(self, arrays: Any, axis: int = 0) -> Any:
        return self._np.concatenate(arrays, axis=axis)

    def permute_dims(self, x: Any, axes: tuple[int, ...]) -> Any:
        return self._np.transpose(x, axes)

    def argsort(self, x: Any, axis: int = -1, descending: bool = False) -> Any:
        # Always stable: ties keep the lower index first.
        return self._np.argsort(-x if descending else x, axis=axis, kind="stable")

    def take(self, x: Any, indices: Any, axis: int = 0) -> Any:
        return self._np.take(x, indices, axis=axis)

    def zeros(self, shape: tuple[int, ...], like: Any) -> Any:
        return self._np.zeros(shape, dtype=like.dtype)

    def arange(self, start: int, stop: int, like: Any) -> Any:
        del like  # numpy has one device
        return self._np.arange(start, stop)

    def unique_values(self, x: Any) -> Any:
        return self._np.unique(x)


class TorchSpace:
    """torch under standard names. `like` places a new tensor on that tensor's device."""

    def __init__(self, module: Any) -> None:
        self._t = module
        self.newaxis = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._t, name)

    def astype(self, x: Any, dtype: Any) -> Any:
        return x.to(dtype)

    def concat(self, arrays: Any, axis: int = 0) -> Any:
        return self._t.cat(tuple(arrays), dim=axis)

    def permute_dims(self, x: Any, axes: tuple[int, ...]) -> Any:
        return x.permute(axes)

    def argsort(self, x: Any, axis: int = -1, descending: bool = False) -> Any:
        return self._t.argsort(x, dim=axis, descending=descending, stable=True)

    def take(self, x: Any, indices: Any, axis: int = 0) -> Any:
        return self._t.index_select(x, axis, indices)

    def take_along_axis(self, x: Any, indices: Any, axis: int = -1) -> Any:
        return self._t.take_along_dim(x, indices.to(self._t.int64), dim=axis)

    def zeros(self, shape: tuple[int, ...], like: Any) -> Any:
        return self._t.zeros(shape, dtype=like.dtype, device=like.device)

    def arange(self, start: int, stop: int, like: Any) -> Any:
        return self._t.arange(start, stop, device=like.device)

    def max(self, x: Any, axis: int, keepdims: bool = False) -> Any:
        return self._t.amax(x, dim=axis, keepdim=keepdims)

    def sum(self, x: Any, axis: int, keepdims: bool = False) -> Any:
        return self._t.sum(x, dim=axis, keepdim=keepdims)

    def mean(self, x: Any, axis: int, keepdims: bool = False) -> Any:
        return self._t.mean(x, dim=axis, keepdim=keepdims)

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        return self._t.where(condition, x, y)

    def nonzero(self, x: Any) -> Any:
        return self._t.nonzero(x, as_tuple=True)

    def unique_values(self, x: Any) -> Any:
        return self._t.unique(x)


Space = NumpySpace | TorchSpace


@lru_cache(maxsize=8)
def _space(module: Any) -> Space:
    return TorchSpace(module) if module.__name__ == "torch" else NumpySpace(module)


def namespace(xp: Any) -> Any:
    """The space of `xp`: numpy (also for None), torch, or a space already."""
    if xp is None:
        import numpy as xp
    return xp if isinstance(xp, NumpySpace | TorchSpace) else _space(xp)


def widen(xp: Any, x: Any) -> Any:
    """float32 for computing, whatever the storage; float64 stays, so that oracles can use it."""
    return x if x.dtype in (xp.float32, xp.float64) else xp.astype(x, xp.float32)


def softmax(xp: Any, x: Any) -> Any:
    """Over the last axis, shifted by the maximum so that it cannot overflow."""
    power = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return power / xp.sum(power, axis=-1, keepdims=True)


def sigmoid(xp: Any, x: Any) -> Any:
    """1 / (1 + exp(-x)) by the exponential of -|x|, which cannot overflow; exact in both tails."""
    small = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1.0, small) / (1.0 + small)


def gate(xp: Any, x: Any, act: str) -> Any:
    """silu(x) or the tanh form of gelu(x)."""
    if act == "silu":
        return x * sigmoid(xp, x)
    return 0.5 * x * (1.0 + xp.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))
