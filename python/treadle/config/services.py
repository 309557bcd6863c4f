"""The options of the other commands; most starts need none of these classes."""

from __future__ import annotations

from dataclasses import dataclass

from treadle.config.commands import ChatConfig, ModelConfig, RunConfig
from treadle.config.option import option


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeConfig(ModelConfig):
    """treadle serve: OpenAI-style endpoints."""

    source: str | None = option(
        "the model, instead of --model", default=None, positional=True, metavar="MODEL"
    )
    host: str = option("interface to listen on", default="127.0.0.1")
    port: int = option("port; 0 = any free one", default=8000, low=0, high=65_535)
    api_key: str | None = option(
        "key that clients must send; several separated by commas", default=None, secret=True
    )
    no_auth: bool = option("listen beyond this machine without a key", default=False)
    served_name: str | None = option("another name for the model", default=None, metavar="NAME")
    max_sequences: int = option("sequences computed together", default=64, low=1, high=4_096)
    max_batch_tokens: int = option(
        "tokens of one step", default=512, unit="tokens", low=16, high=1 << 20
    )
    max_queue: int = option("requests that may wait", default=512, low=1, high=1 << 20)
    target_step_ms: float = option(
        "longest step that prefill may make; 0 = 50 on a CPU, 25 on a GPU",
        default=0.0,
        unit="ms",
        low=0,
        high=10_000,
    )
    drain_timeout: float = option(
        "how long running requests may finish on shutdown",
        default=30.0,
        unit="s",
        low=0,
        high=3_600,
    )
    no_overlap: bool = option("plain loop, for debugging", default=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchDecodeConfig(ModelConfig):
    """treadle bench decode: how fast one sequence goes."""

    prompt_tokens: int = option("prompt length", default=128, unit="tokens", low=1, high=1 << 20)
    tokens: int = option("tokens to generate", default=64, unit="tokens", low=2, high=1 << 20)
    schema: str | None = option(
        "constrain the output by this JSON Schema", default=None, metavar="FILE"
    )
    repeat: int = option("runs; the median is reported", default=3, low=1, high=1_000)
    seed: int = option("seed of prompt and sampling", default=0, low=0, high=(1 << 63) - 1)
    json: bool = option("end with one line of JSON", default=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class PullConfig:
    """treadle pull: fetch a model into the cache."""

    source: str = option("alias or Hugging Face repository", positional=True, metavar="ALIAS|REPO")
    print_path: bool = option("print the weight file's path on standard output", default=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorConfig:
    """treadle doctor: what this machine offers."""

    json: bool = option("print one JSON object", default=False)


# every command whose variables may stand in one environment
COMMANDS = (RunConfig, ChatConfig, ServeConfig, BenchDecodeConfig, PullConfig, DoctorConfig)
