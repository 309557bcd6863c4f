"""`treadle run`: one answer on standard output, statistics on standard error."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from treadle import _core
from treadle.cli.collector import paused
from treadle.cli.options import (
    constraint_options,
    conversation,
    engine_options,
    note,
    sampling_of,
)
from treadle.config import RunConfig, parse

if TYPE_CHECKING:
    from treadle.engine import LLM, Output, TextStream


_STRING_OR_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|\s+')


class Times(Struct, frozen=True):
    """Seconds from the request to the first token and to the end."""

    first: float
    total: float

    def rate(self, tokens: int) -> float:
        """Tokens a second after the first one."""
        spent = self.total - self.first
        return (tokens - 1) / spent if tokens > 1 and spent > 0 else 0.0


def main(arguments: Sequence[str]) -> int:
    """Answers the prompt; with --json as one record instead of bare text."""
    _core.keep_heap_small()
    config = parse(RunConfig, arguments, prog="treadle run")
    constraint = constraint_options(config)
    sampling = sampling_of(config, seed=int.from_bytes(os.urandom(4)) >> 1)
    prompt = sys.stdin.read() if config.prompt == "-" else config.prompt
    if config.backend in ("auto", "mega"):  # no product is numpy's, so none of its threads work
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with paused():
        from treadle.engine import LLM

        llm = LLM(config.model, **engine_options(config))
    with llm:
        start = time.perf_counter()
        stream = _start(llm, config, prompt, {**constraint, "sampling": sampling})
        first = 0.0
        streams = not config.json and not config.schema
        with stream:
            for delta in stream:
                first = first or time.perf_counter() - start
                if streams:
                    sys.stdout.write(delta.text)
                    sys.stdout.flush()
        times = Times(first, time.perf_counter() - start)
        out = stream.output
        if config.json:
            print(msgspec.json.encode(_record(out, times, sampling.seed)).decode())
        elif config.schema:
            print(one_line(out.text))
        else:
            print()
        _report(out, times, sampling.seed, llm.loaded.name)
    return 0


def one_line(text: str) -> str:
    """JSON text without the white space between its tokens; every token keeps its spelling."""
    return _STRING_OR_SPACE.sub(lambda found: found[1] or "", text)


def _start(llm: LLM, config: RunConfig, prompt: str, options: dict[str, Any]) -> TextStream:
    if config.raw or llm.loaded.template is None:
        return llm.stream(prompt, **options)
    return llm.stream_chat(conversation(prompt, config.system), **options)


def _record(out: Output, times: Times, seed: int | None) -> dict[str, Any]:
    tokens = out.usage.completion_tokens
    complete = out.finish_reason == "stop"
    return {
        "text": out.text,
        "value": out.value if complete else None,
        "finish_reason": out.finish_reason,
        "usage": {"prompt_tokens": out.usage.prompt_tokens, "completion_tokens": tokens},
        "ttft_ms": round(times.first * 1e3, 2),
        "decode_tok_s": round(times.rate(tokens), 2),
        "seed": seed,
    }


def _report(out: Output, times: Times, seed: int | None, name: str) -> None:
    tokens = out.usage.completion_tokens
    note(
        f"{name}: {tokens} tokens in {times.total:.2f} s, {times.rate(tokens):.1f} tokens/s, "
        f"first after {times.first * 1e3:.0f} ms, seed {seed}"
    )
    if out.finish_reason == "length":
        note("the answer was cut short; raise --max-tokens")
    for text in out.notes:
        note(f"note: {text}")
