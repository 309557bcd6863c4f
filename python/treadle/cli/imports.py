"""Starting without what a library takes in only because it happens to be installed."""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, cast


@contextmanager
def without(name: str) -> Generator[None]:
    """Inside, importing this module fails, as if it were not installed; afterwards it does not.
    Nothing happens where it is imported already. Not for several threads."""
    modules = cast("dict[str, Any]", sys.modules)
    if name in modules:
        yield
        return
    modules[name] = None
    try:
        yield
    finally:
        del modules[name]


def import_msgspec() -> None:
    """Imports msgspec, which prefers typing_extensions to the same three names of typing: with
    inspect and what that brings, 1.8 MB that no command needs."""
    with without("typing_extensions"):
        import_module("msgspec")
    gc.collect()
