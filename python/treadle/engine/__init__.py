"""The engine: one scheduler and one loop for every backend, with a Python and an async face."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from treadle.engine.async_engine import AsyncEngine
    from treadle.engine.intake import Intake, Prepared
    from treadle.engine.llm import LLM
    from treadle.engine.load import Loaded, load
    from treadle.engine.loop import LoopOptions
    from treadle.engine.output import Output, TextStream
    from treadle.engine.runner import Engine
    from treadle.engine.stats import Stats
    from treadle.engine.stream import Stream

_HOMES = {
    "AsyncEngine": "async_engine",
    "Engine": "runner",
    "Intake": "intake",
    "LLM": "llm",
    "Loaded": "load",
    "LoopOptions": "loop",
    "Output": "output",
    "Prepared": "intake",
    "Stats": "stats",
    "Stream": "stream",
    "TextStream": "output",
    "load": "load",
}

__all__ = [
    "LLM",
    "AsyncEngine",
    "Engine",
    "Intake",
    "Loaded",
    "LoopOptions",
    "Output",
    "Prepared",
    "Stats",
    "Stream",
    "TextStream",
    "load",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
