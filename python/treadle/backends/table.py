"""Backends by name. The engine never names one: it asks here."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.errors import Unsupported

if TYPE_CHECKING:
    from treadle.backends.base import Backend

# name -> (module, attribute, what must be installed beside the base package, how to get it)
BACKENDS: dict[str, tuple[str, str, str | None, str]] = {
    "reference": ("treadle.backends.reference", "Reference", None, ""),
    "mega": ("treadle.backends.mega", "mega", None, ""),
    "torch": ("treadle.backends.torch", "Torch", "torch", "pip install 'treadle[torch]'"),
}


def choose(
    name: str | None = None, *, device: str | None = None, dtype: str | None = None, page: int = 16
) -> tuple[str, str]:
    """The backend to use and why: `name` if given, else the fastest that takes the options."""
    if name is not None:
        return name, "asked for"
    gpu = Path("/proc/driver/nvidia/version").exists() if device is None else device != "cpu"
    plain = dtype in (None, "f32") and page == 16  # what mega takes
    if (gpu or not plain) and importlib.util.find_spec("torch") is not None:
        return "torch", "there is a GPU" if gpu else "it takes every dtype and page size"
    return "mega", "pip install 'treadle[cuda]' for the GPU" if gpu else "there is no GPU"


def backend(name: str, **options: Any) -> Backend:
    """The backend called `name`, imported on first use; `options` go to its constructor.

    Raises Unsupported for an unknown name or a missing library.
    """
    if name not in BACKENDS:
        raise Unsupported(f"unknown backend {name!r}", at="backend", hint=f"one of {[*BACKENDS]}")
    module, attribute, needs, remedy = BACKENDS[name]
    if needs is not None and importlib.util.find_spec(needs) is None:
        raise Unsupported(f"backend {name!r} needs {needs}", at="backend", hint=remedy)
    return getattr(importlib.import_module(module), attribute)(**options)
