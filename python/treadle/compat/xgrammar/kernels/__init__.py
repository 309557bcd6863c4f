"""Bitmasks applied to logits, one module a way; xgrammar's names over treadle's kernels."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

_MODULES = {
    "cpu": "cpu",
    "cuda": "cuda",
    "triton": "triton",
    "torch_compile": "torch_compile",
    "torch_native": "torch",
}


def applier(backend: str) -> Callable[..., None]:
    """The function of a backend by its name in `apply_token_bitmask_inplace`."""
    if backend not in _MODULES:
        raise ValueError(f"no backend {backend!r}; one of {['auto', *_MODULES]}")
    name = f"apply_token_bitmask_inplace_{_MODULES[backend]}"
    module: Any = importlib.import_module(f"{__name__}.{name}")
    return getattr(module, name)
