"""Backends by name. The engine never names one: it asks here."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from treadle.errors import Unsupported

if TYPE_CHECKING:
    from treadle.backends.base import Backend

# name -> (module, attribute, what must be installed beside the base package, how to get it)
BACKENDS: dict[str, tuple[str, str, str | None, str]] = {
    "reference": ("treadle.backends.reference", "Reference", None, ""),
    "mega": ("treadle.backends.mega", "Mega", None, ""),
    "torch": ("treadle.backends.torch", "Torch", "torch", "pip install 'treadle[torch]'"),
}


def choose(name: str | None = None) -> tuple[str, str]:
    """The backend to use and why: `name` if given, else the fastest that is installed."""
    if name is not None:
        return name, "asked for"
    if importlib.util.find_spec("torch") is not None:
        return "torch", "torch is installed"
    return "reference", "works everywhere; pip install 'treadle[torch]' for speed"


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
