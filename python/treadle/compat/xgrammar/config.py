"""Settings of the process: how deep sources and outputs may nest, and the storage version."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager

from msgspec.structs import replace

from treadle.limits import GrammarLimits

_MOST = 1_000_000
_USUAL = 10_000
_VERSION = "treadle-1"
_lock = threading.Lock()


def _from_environment() -> int | None:
    text = os.environ.get("XGRAMMAR_MAX_RECURSION_DEPTH", "")
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) <= _MOST else None


_chosen: list[int | None] = [_from_environment()]  # one for the whole process


def get_max_recursion_depth() -> int:
    """The depth that was set, else that of XGRAMMAR_MAX_RECURSION_DEPTH, else 10,000."""
    return _chosen[0] or _USUAL


def set_max_recursion_depth(max_recursion_depth: int) -> None:
    """Sets how deep sources and outputs may nest, for grammars made from now on.

    treadle recurses on no input; the number becomes its limits `source_depth` and `stack_depth`.
    Raises RuntimeError outside 1 to 1,000,000.
    """
    if not 0 < max_recursion_depth <= _MOST:
        raise RuntimeError(
            f"max_recursion_depth must lie in 1 to {_MOST}, got {max_recursion_depth}"
        )
    _choose(max_recursion_depth)


@contextmanager
def max_recursion_depth(temp_depth: int) -> Generator[None]:
    """Another depth inside a `with` block; the one before comes back at its end."""
    before = _chosen[0]
    set_max_recursion_depth(temp_depth)
    try:
        yield
    finally:
        _choose(before)


def get_serialization_version() -> str:
    """What `__VERSION__` must be in stored grammars, compiled grammars and tokenizer infos."""
    return _VERSION


def limits(cache_bytes: int | None = None) -> GrammarLimits:
    """treadle's limits under these settings. Not part of xgrammar's interface."""
    out = GrammarLimits() if cache_bytes is None else GrammarLimits(cache_bytes=cache_bytes)
    depth = _chosen[0]
    return out if depth is None else replace(out, source_depth=depth, stack_depth=depth)


def _choose(depth: int | None) -> None:
    with _lock:
        _chosen[0] = depth
