"""What a request gives back, token by token and as a whole."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

FinishReason = Literal["stop", "length", "tool_calls", "abort", "error"]


class TokenLogprob(Struct, frozen=True):
    """Log-probability of a drawn token and of the alternatives asked for."""

    id: int
    text: bytes
    logprob: float
    top: tuple[tuple[int, bytes, float], ...] = ()


class Usage(Struct, frozen=True):
    """Token counts; `cached_tokens` of the prompt came from the prefix cache."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


class Delta(msgspec.Struct, frozen=True):
    """What one choice gained in one step. The last delta of a choice has a finish_reason.

    `text` never ends inside a character and never holds text that may begin a stop string.
    """

    index: int
    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None  # on the last delta of a choice


class ToolCall(Struct, frozen=True):
    """One call a model made: `arguments` is JSON text, as OpenAI's clients expect."""

    id: str
    name: str
    arguments: str
