"""The options of commands at the terminal, each described once; `services.py` has the others."""

from typing import Annotated

from msgspec import Struct

from treadle.config.option import option

DEFAULT_MODEL = "smollm2-135m"


class ModelConfig(Struct, frozen=True, kw_only=True):
    """Which model runs, and on what."""

    model: Annotated[str, option("alias, Hugging Face repository, .gguf file or model folder")] = (
        DEFAULT_MODEL
    )
    backend: Annotated[
        str,
        option(
            "what computes; auto takes the fastest that this machine and the options allow",
            choices=("auto", "mega", "reference", "torch"),
        ),
    ] = "auto"
    device: Annotated[str, option("where it computes: auto, cpu, cuda or cuda:N")] = "auto"
    tp: Annotated[
        int,
        option("GPUs of this machine that share the model's weights; backend mega", low=1, high=8),
    ] = 1
    threads: Annotated[int, option("CPU threads; 0 = one a core", low=0, high=1024)] = 0
    context: Annotated[
        int | None,
        option(
            "longest prompt and output together; less than the model's own saves memory",
            unit="tokens",
            low=16,
            high=1 << 24,
        ),
    ] = None
    pages: Annotated[
        int | None,
        option(
            "KV pages to allocate; by default what memory suggests",
            unit="pages of 16 tokens",
            low=2,
            high=1 << 26,
        ),
    ] = None
    act: Annotated[
        str,
        option(
            "activation type; auto is f32 on a CPU and bf16 on a GPU",
            choices=("auto", "f32", "f16", "bf16"),
        ),
    ] = "auto"


class SamplingConfig(ModelConfig, frozen=True, kw_only=True):
    """How tokens are drawn at the command line."""

    max_tokens: Annotated[int, option("longest answer", unit="tokens", low=1, high=1 << 24)] = 512
    temperature: Annotated[float, option("0 = always the likeliest token", low=0, high=2)] = 0.7
    top_p: Annotated[float, option("keep the likeliest tokens of this total", low=1e-6, high=1)] = (
        1.0
    )
    top_k: Annotated[int, option("keep this many tokens; 0 = all", low=0, high=1 << 24)] = 0
    min_p: Annotated[
        float, option("drop tokens below this share of the top", low=0, high=0.999)
    ] = 0.0
    repetition_penalty: Annotated[
        float, option("above 1 discourages tokens already seen", low=0.01, high=10)
    ] = 1.0
    seed: Annotated[
        int | None,
        option("the same seed gives the same answer", low=-(1 << 63), high=(1 << 63) - 1),
    ] = None
    system: Annotated[str | None, option("system message", metavar="TEXT")] = None
    schema: Annotated[str | None, option("JSON Schema the answer must match", metavar="FILE")] = (
        None
    )
    regex: Annotated[str | None, option("regular expression it must match", metavar="REGEX")] = None
    grammar: Annotated[str | None, option("EBNF grammar it must match", metavar="FILE")] = None


class RunConfig(SamplingConfig, frozen=True, kw_only=True):
    """treadle run: answer one prompt."""

    prompt: Annotated[
        str, option("the prompt; - reads standard input", positional=True, metavar="PROMPT")
    ]
    raw: Annotated[bool, option("continue the text instead of answering as a chat")] = False
    json: Annotated[bool, option("print one JSON object with text, value, usage and times")] = False


class ChatConfig(SamplingConfig, frozen=True, kw_only=True):
    """treadle chat: talk to a model."""
