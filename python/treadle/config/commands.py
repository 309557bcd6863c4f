"""The options of commands at the terminal, each described once; `services.py` has the others."""

from __future__ import annotations

from dataclasses import dataclass

from treadle.config.option import option

DEFAULT_MODEL = "smollm2-135m"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Which model runs, and on what."""

    model: str = option(
        "alias, Hugging Face repository, .gguf file or model folder", default=DEFAULT_MODEL
    )
    backend: str = option(
        "what computes; auto takes the fastest that this machine and the options allow",
        default="auto",
        choices=("auto", "mega", "reference", "torch"),
    )
    device: str = option("where it computes: auto, cpu, cuda or cuda:N", default="auto")
    tp: int = option(
        "GPUs of this machine that share the model's weights; backend mega",
        default=1,
        low=1,
        high=8,
    )
    threads: int = option("CPU threads; 0 = one a core", default=0, low=0, high=1024)
    context: int | None = option(
        "longest prompt and output together; less than the model's own saves memory",
        default=None,
        unit="tokens",
        low=16,
        high=1 << 24,
    )
    pages: int | None = option(
        "KV pages to allocate; by default what memory suggests",
        default=None,
        unit="pages of 16 tokens",
        low=2,
        high=1 << 26,
    )
    act: str = option(
        "activation type; auto is f32 on a CPU and bf16 on a GPU",
        default="auto",
        choices=("auto", "f32", "f16", "bf16"),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig(ModelConfig):
    """How tokens are drawn at the command line."""

    max_tokens: int = option("longest answer", default=512, unit="tokens", low=1, high=1 << 24)
    temperature: float = option("0 = always the likeliest token", default=0.7, low=0, high=2)
    top_p: float = option("keep the likeliest tokens of this total", default=1.0, low=1e-6, high=1)
    top_k: int = option("keep this many tokens; 0 = all", default=0, low=0, high=1 << 24)
    min_p: float = option("drop tokens below this share of the top", default=0.0, low=0, high=0.999)
    repetition_penalty: float = option(
        "above 1 discourages tokens already seen", default=1.0, low=0.01, high=10
    )
    seed: int | None = option(
        "the same seed gives the same answer", default=None, low=-(1 << 63), high=(1 << 63) - 1
    )
    system: str | None = option("system message", default=None, metavar="TEXT")
    schema: str | None = option("JSON Schema the answer must match", default=None, metavar="FILE")
    regex: str | None = option("regular expression it must match", default=None, metavar="REGEX")
    grammar: str | None = option("EBNF grammar it must match", default=None, metavar="FILE")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig(SamplingConfig):
    """treadle run: answer one prompt."""

    prompt: str = option("the prompt; - reads standard input", positional=True, metavar="PROMPT")
    raw: bool = option("continue the text instead of answering as a chat", default=False)
    json: bool = option("print one JSON object with text, value, usage and times", default=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatConfig(SamplingConfig):
    """treadle chat: talk to a model."""
