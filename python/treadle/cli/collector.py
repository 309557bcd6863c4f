"""Starting without the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def paused() -> Generator[None]:
    """Nothing is collected inside: what is imported and loaded there stays, and every look at it is
    time spent for nothing. Afterwards it is left alone, if the collector ran before, until somebody
    calls gc.unfreeze."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.freeze()
            gc.enable()
