"""Configuration: one frozen Struct a command, from flags, environment and file."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from treadle.config.commands import (
    DEFAULT_MODEL,
    ChatConfig,
    ModelConfig,
    RunConfig,
    SamplingConfig,
)
from treadle.config.load import debug_switches, parse
from treadle.config.option import Option, option, options_of

if TYPE_CHECKING:
    from treadle.config.document import json_schema as json_schema
    from treadle.config.document import markdown as markdown
    from treadle.config.services import BenchDecodeConfig as BenchDecodeConfig
    from treadle.config.services import DoctorConfig as DoctorConfig
    from treadle.config.services import PullConfig as PullConfig
    from treadle.config.services import ServeConfig as ServeConfig

# what a command at the terminal does not need
_HOMES = {
    "BenchDecodeConfig": "services",
    "DoctorConfig": "services",
    "PullConfig": "services",
    "ServeConfig": "services",
    "json_schema": "document",
    "markdown": "document",
}

__all__ = [
    "DEFAULT_MODEL",
    "BenchDecodeConfig",
    "ChatConfig",
    "DoctorConfig",
    "ModelConfig",
    "Option",
    "PullConfig",
    "RunConfig",
    "SamplingConfig",
    "ServeConfig",
    "debug_switches",
    "json_schema",
    "markdown",
    "option",
    "options_of",
    "parse",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
