"""Configuration: one frozen dataclass a command, from flags, environment and file."""

from treadle.config.commands import (
    DEFAULT_MODEL,
    BenchDecodeConfig,
    ChatConfig,
    DoctorConfig,
    ModelConfig,
    PullConfig,
    RunConfig,
    SamplingConfig,
    ServeConfig,
)
from treadle.config.document import json_schema, markdown
from treadle.config.load import debug_switches, parse
from treadle.config.option import Option, option, options_of

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
