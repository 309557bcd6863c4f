"""`treadle mega trace`: real steps of a model as a timeline and as a one-page picture."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from msgspec import Struct

from treadle.cli.mega import suffix, write
from treadle.cli.options import note
from treadle.config import parse
from treadle.config.commands import DEFAULT_MODEL
from treadle.config.option import option

if TYPE_CHECKING:
    from treadle.backends.base import Executable
    from treadle.engine.runner import Engine
    from treadle.limits import Limits
    from treadle.mega import Plan
    from treadle.mega.timeline import Span

PATIENCE = 300.0
"""Seconds for one answer."""


class TraceConfig(Struct, frozen=True, kw_only=True):
    """treadle mega trace: what each worker did when."""

    source: Annotated[
        str, option("alias, repository, .gguf file or folder", positional=True, metavar="MODEL")
    ] = DEFAULT_MODEL
    output: Annotated[str, option("Perfetto (Chrome JSON) file to write", metavar="FILE")]
    picture: Annotated[str | None, option("one-page SVG to write as well", metavar="FILE")] = None
    device: Annotated[
        str,
        option(
            "cpu: all steps; cuda: the last step of the persistent kernel", choices=("cpu", "cuda")
        ),
    ] = "cpu"
    threads: Annotated[int, option("CPU threads; 0 = one a core", low=0, high=1024)] = 0
    prompt_tokens: Annotated[int, option("prompt length", low=1, high=1 << 16)] = 128
    tokens: Annotated[int, option("tokens to generate", low=4, high=1 << 12)] = 24
    sequences: Annotated[int, option("answered together", low=1, high=64)] = 1
    temperature: Annotated[float, option("0 = always the likeliest token", low=0, high=2)] = 0.7
    seed: Annotated[int, option("of prompts and sampling", low=0, high=(1 << 63) - 1)] = 0


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded: spans in order, of so many workers; the plans, smallest first."""

    spans: list[Span]
    workers: int
    plans: Sequence[Plan]
    name: str


def trace(arguments: Sequence[str]) -> int:
    """Runs the model once to warm up, once recorded, and writes the files."""
    config = parse(TraceConfig, arguments, prog="treadle mega trace")
    suffix(config.output, (".json",))
    if config.picture:
        suffix(config.picture, (".svg",))
    if config.device == "cuda":
        from treadle.cli.mega_trace_cuda import trace_cuda

        trace_cuda(config)
        return 0
    found = record(config)
    from treadle.mega.picture import picture
    from treadle.mega.timeline import chrome, steps

    about = {"model": found.name, "workers": found.workers, "prompt_tokens": config.prompt_tokens}
    write(config.output, json.dumps(chrome(found.spans, found.workers, about)))
    if config.picture:
        whole = steps(found.spans, found.workers)
        title = (
            f"{found.name}: {found.workers} workers, {config.sequences} x {config.prompt_tokens} "
            f"prompt tokens, {config.tokens} drawn at temperature {config.temperature:g}"
        )
        rows = [plan.shape.rows for plan in found.plans]
        write(config.picture, picture(whole, found.workers, rows, title))
    return 0


def record(config: TraceConfig) -> Recorded:
    """The spans of one answer a sequence. Raises what loading and running raise."""
    from treadle.backends.mega import Mega
    from treadle.limits import Limits
    from treadle.mega.timeline import spans
    from treadle.models import load

    limits = Limits()
    model = load(config.source, act="f32", page=16, limits=limits, progress=True)
    # Sizes of a ring: a step of a large model has some thousand tasks and waits a worker.
    compiler = Mega(threads=config.threads or None, trace=1 << 18)
    exe = compiler.compile(model.graph, model.weights, limits)
    vocab = exe.vocab
    engine = started(cast("Executable", exe), limits)
    try:
        answer(engine, config, vocab, config.seed)
        warm = exe.trace()
        mark = max((span.end for span in spans(exe.plans, warm)), default=0.0)
        answer(engine, config, vocab, config.seed + 1)
        found = [span for span in spans(exe.plans, exe.trace()) if span.start >= mark]
        note(f"recorded {len(found)} tasks and waits")
        return Recorded(found, compiler.threads, exe.plans, model.name)
    finally:
        engine.close()


def started(exe: Executable, limits: Limits) -> Engine:
    """An engine whose tokens have no text of their own: nobody reads it."""
    from treadle.engine.runner import Engine
    from treadle.types import TokenKind, TokenTable

    table = TokenTable((b"x",) * exe.vocab, (TokenKind.NORMAL,) * exe.vocab, ())
    engine = Engine(exe, table, limits=limits)
    engine.start()
    return engine


def answer(engine: Engine, config: TraceConfig, vocab: int, seed: int) -> None:
    """One answer a sequence, all at once, from random tokens."""
    from treadle.engine.channel import Channel
    from treadle.engine.request import Submit
    from treadle.types import Sampling

    rng = random.Random(seed)
    sampling = Sampling(
        temperature=config.temperature, max_tokens=config.tokens, ignore_eos=True, seed=seed
    )
    channels: list[Channel] = []
    for _ in range(config.sequences):
        prompt = tuple(rng.randrange(vocab) for _ in range(config.prompt_tokens))
        channels.append(Channel(config.tokens + 2))
        engine.submit(Submit(engine.next_id(), prompt, sampling), channels[-1])
    for channel in channels:
        with suppress(StopIteration):
            while True:
                channel.wait(PATIENCE)
                channel.take()
