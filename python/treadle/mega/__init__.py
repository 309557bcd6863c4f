"""Task graphs: a model graph compiled for workers that never return between operators.

    plan = compile(graph, CPU, rows=8, slots=8, context=4096)

One plan format, one verifier and one interpreter for every device: docs/mega-plan.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from treadle.mega.plan import Plan, read, to_bytes, write
from treadle.mega.target import CPU, H200, TARGETS, Target

if TYPE_CHECKING:
    from treadle.mega.compiler import compile as compile
    from treadle.mega.fuse import grouped as grouped
    from treadle.mega.verifier import verify as verify

# what a start with plans on disk does not need
_HOMES = {"compile": "compiler", "grouped": "fuse", "verify": "verifier"}

__all__ = [
    "CPU",
    "H200",
    "TARGETS",
    "Plan",
    "Target",
    "compile",
    "grouped",
    "read",
    "to_bytes",
    "verify",
    "write",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
