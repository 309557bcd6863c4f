"""transformers with a table of measured kernels: its RMSNorm layers, as a mapping or as sites.

    kernels.register_kernel_mapping(mapping(table, definitions))   # with the `kernels` package
    with enabled(table, sites(model, definitions)): ...            # without it

A layer keeps its own weight and epsilon; the definition must say the same epsilon. Rows that no
measured kernel takes are computed as the layer computes them.
"""

# transformers and torch have partial annotations, and strict mode reports every gap.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch

from treadle.kernels.apply import Resolver, Site
from treadle.kernels.schema import AxisConst, Definition

LAYER = "RMSNorm"
"""The name under which transformers offers its plain RMS norms for replacement."""


def mapping(table: Resolver, definitions: Iterable[Definition]) -> dict[str, dict[str, Any]]:
    """What `kernels.register_kernel_mapping` takes: layer name → device type → repository.

    The kernels have no backward pass, which the layer says, so `kernelize` uses it for inference
    only.
    """
    repository = _Repository(_layer(_Norms(table, definitions)))
    return {LAYER: {"cpu": repository, "cuda": repository}}


def sites(model: Any, definitions: Iterable[Definition]) -> list[Site]:
    """Call sites of every RMSNorm class that a model uses: classes with a weight, an epsilon
    called `variance_epsilon`, and no bias."""
    known = list(definitions)
    classes = {
        type(module): None
        for module in model.modules()
        if hasattr(module, "variance_epsilon") and getattr(module, "bias", None) is None
    }

    def make(original: Callable[..., Any], table: Resolver) -> Callable[..., Any]:
        norms = _Norms(table, known)

        def forward(self: Any, hidden_states: Any) -> Any:
            handle = norms.of(self, lambda x, w: original(self, x))
            rows = hidden_states.reshape(-1, hidden_states.shape[-1])
            return handle(rows, self.weight).view(hidden_states.shape)

        return forward

    return [Site(kind, "forward", make) for kind in classes]


class _Norms:
    """A handle for each layer, found once by its size, type and epsilon."""

    def __init__(self, table: Resolver, definitions: Iterable[Definition]) -> None:
        self._table = table
        self._known = [d for d in definitions if _is_norm(d) and table.find(d) == d.name]
        self._handles: weakref.WeakKeyDictionary[Any, Callable[..., Any]] = (
            weakref.WeakKeyDictionary()
        )

    def of(self, layer: Any, fallback: Callable[..., Any]) -> Callable[..., Any]:
        """The handle of a layer; `fallback` takes rows and weight."""
        found = self._handles.get(layer)
        if found is None:
            weight, eps = layer.weight, float(layer.variance_epsilon)
            found = fallback
            for d in self._known:
                if _fits(d, weight, eps):
                    found = self._table.resolve(d.name, fallback)
                    break
            self._handles[layer] = found
        return found


def _is_norm(d: Definition) -> bool:
    ours = d.treadle or {}
    return ours.get("op") == "rmsnorm" and len(d.inputs) == 2 and len(d.outputs) == 1


def _fits(d: Definition, weight: Any, eps: float) -> bool:
    rows, second = d.inputs.values()
    axis = d.axes[(second.shape or [""])[0]]
    return (
        (d.treadle or {}).get("attrs", {}).get("eps") == eps
        and isinstance(axis, AxisConst)
        and axis.value == weight.shape[0]
        and str(weight.dtype) == f"torch.{second.dtype}" == f"torch.{rows.dtype}"
    )


def plain_norm(x: Any, weight: Any, eps: float) -> Any:
    """x [T, D] as transformers' layers have it: float32 inside, weight after the cast."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return weight * wide.to(x.dtype)


def _layer(norms: _Norms) -> type[torch.nn.Module]:
    """A layer as `kernelize` wants it: only its `forward` is used, on the model's own layer."""

    class TreadleRMSNorm(torch.nn.Module):
        has_backward = False
        can_torch_compile = False

        weight: torch.Tensor
        variance_epsilon: float

        def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
            """hidden_states [..., D] → the same shape."""
            eps = self.variance_epsilon
            handle = norms.of(self, lambda x, w: plain_norm(x, w, eps))
            rows = hidden_states.reshape(-1, hidden_states.shape[-1])
            return handle(rows, self.weight).view(hidden_states.shape)

    return TreadleRMSNorm


class _Repository:
    """What stands for a downloaded kernel: `load` gives the layer's class."""

    def __init__(self, layer: type[torch.nn.Module]) -> None:
        self._layer = layer
        self.layer_name = layer.__name__

    def load(self) -> type[torch.nn.Module]:
        """The class."""
        return self._layer

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other
