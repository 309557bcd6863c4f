"""The options of the other commands; most starts need none of these classes."""

from typing import Annotated

from msgspec import Struct

from treadle.config.commands import ChatConfig, ModelConfig, RunConfig
from treadle.config.option import option


class ServeConfig(ModelConfig, frozen=True, kw_only=True):
    """treadle serve: OpenAI-style endpoints."""

    source: Annotated[
        str | None, option("the model, instead of --model", positional=True, metavar="MODEL")
    ] = None
    host: Annotated[str, option("interface to listen on")] = "127.0.0.1"
    port: Annotated[int, option("port; 0 = any free one", low=0, high=65_535)] = 8000
    api_key: Annotated[
        str | None, option("key that clients must send; several separated by commas", secret=True)
    ] = None
    no_auth: Annotated[bool, option("listen beyond this machine without a key")] = False
    served_name: Annotated[str | None, option("another name for the model", metavar="NAME")] = None
    max_sequences: Annotated[int, option("sequences computed together", low=1, high=4_096)] = 64
    max_batch_tokens: Annotated[
        int, option("tokens of one step", unit="tokens", low=16, high=1 << 20)
    ] = 512
    max_queue: Annotated[int, option("requests that may wait", low=1, high=1 << 20)] = 512
    target_step_ms: Annotated[
        float,
        option(
            "longest step that prefill may make; 0 = 50 on a CPU, 25 on a GPU",
            unit="ms",
            low=0,
            high=10_000,
        ),
    ] = 0.0
    drain_timeout: Annotated[
        float,
        option("how long running requests may finish on shutdown", unit="s", low=0, high=3_600),
    ] = 30.0
    no_overlap: Annotated[bool, option("plain loop, for debugging")] = False


class BenchDecodeConfig(ModelConfig, frozen=True, kw_only=True):
    """treadle bench decode: how fast one sequence goes."""

    prompt_tokens: Annotated[int, option("prompt length", unit="tokens", low=1, high=1 << 20)] = 128
    tokens: Annotated[int, option("tokens to generate", unit="tokens", low=2, high=1 << 20)] = 64
    schema: Annotated[
        str | None, option("constrain the output by this JSON Schema", metavar="FILE")
    ] = None
    repeat: Annotated[int, option("runs; the median is reported", low=1, high=1_000)] = 3
    seed: Annotated[int, option("seed of prompt and sampling", low=0, high=(1 << 63) - 1)] = 0
    json: Annotated[bool, option("end with one line of JSON")] = False


class PullConfig(Struct, frozen=True, kw_only=True):
    """treadle pull: fetch a model into the cache."""

    source: Annotated[
        str, option("alias or Hugging Face repository", positional=True, metavar="ALIAS|REPO")
    ]
    print_path: Annotated[bool, option("print the weight file's path on standard output")] = False


class DoctorConfig(Struct, frozen=True, kw_only=True):
    """treadle doctor: what this machine offers."""

    json: Annotated[bool, option("print one JSON object")] = False


# every command whose variables may stand in one environment
COMMANDS = (RunConfig, ChatConfig, ServeConfig, BenchDecodeConfig, PullConfig, DoctorConfig)
