"""The model that `treadle kernels loop` makes faster, and an engine to run it in."""

from __future__ import annotations

import random
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.backends.table import backend
from treadle.engine.channel import Channel
from treadle.engine.request import Submit
from treadle.engine.runner import Engine
from treadle.errors import InvalidRequest
from treadle.limits import Limits
from treadle.types import Sampling, Tensor, TokenKind, TokenTable, Weights

if TYPE_CHECKING:
    from treadle.graph import Graph

PATIENCE = 120.0
"""Seconds for one answer."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Graph and weights, tokens of a prompt, CPU threads of an operation."""

    graph: Graph
    weights: Weights
    rows: int
    threads: int
    vocab: int

    @staticmethod
    def of(name: str, rows: int, threads: int) -> Subject:
        """`tiny` is made here: eight layers of Gemma's kind, random weights, most of the work in
        the gated feed-forward. Raises InvalidRequest, NotFound, ModelFormatError."""
        if not 1 <= rows <= 512:
            raise InvalidRequest(f"{rows} tokens", at="--rows", hint="1 to 512, one step's worth")
        if name == "tiny":
            graph, weights = _tiny()
        else:
            from treadle.models import load

            model = load(name, act="f32", page=16, limits=Limits(), progress=True)
            graph, weights = model.graph, model.weights
        return Subject(graph, weights, rows, threads, graph.size("V"))

    def prompt(self, number: int) -> tuple[int, ...]:
        """Random tokens; another number, others."""
        rng = random.Random(number)
        return tuple(rng.randrange(self.vocab) for _ in range(self.rows))


@dataclass(frozen=True, slots=True)
class Running:
    """An engine that is up."""

    engine: Engine

    def answer(self, prompt: tuple[int, ...], tokens: int) -> tuple[list[int], float]:
        """Greedy tokens, and the seconds from the request to its end."""
        channel = Channel(64)
        sampling = Sampling(temperature=0.0, max_tokens=tokens, ignore_eos=True, seed=0)
        out: list[int] = []
        start = time.perf_counter()
        self.engine.submit(Submit(self.engine.next_id(), prompt, sampling), channel)
        while True:
            channel.wait(PATIENCE)
            try:
                delta = channel.take()
            except StopIteration:
                return out, time.perf_counter() - start
            if delta is not None:
                out += delta.token_ids


@contextmanager
def running(subject: Subject, resolver: Any) -> Generator[Running]:
    """The subject on the torch backend; `resolver` is asked for every node, None for nothing."""
    compiler = backend("torch", device="cpu", threads=subject.threads, kernels=resolver)
    limits = Limits()
    exe = compiler.compile(subject.graph, subject.weights, limits, pages=256)
    engine = Engine(exe, _table(subject.vocab), limits=limits)
    engine.start()
    try:
        yield Running(engine)
    finally:
        engine.close()


def _table(vocab: int) -> TokenTable:
    """Tokens without a text of their own: only numbers are compared."""
    words = (b"x",) * (vocab - 1) + (b"<end>",)
    kinds = (TokenKind.NORMAL,) * (vocab - 1) + (TokenKind.CONTROL,)
    return TokenTable(words, kinds, (vocab - 1,))


def _tiny() -> tuple[Graph, Weights]:
    from treadle.models import gemma3
    from treadle.models.rope import Rope
    from treadle.models.shape import Shape

    shape = Shape(8, 16, 2, 1, 8, 2048, 257, 1e-6, 512, True)
    rope = Rope(shape.d, 10_000.0)
    config = gemma3.Config(shape, rope, rope, (512, 0) * 4, shape.d**-0.5, 0.0)
    graph = gemma3.build(config)
    rng = np.random.default_rng(0)
    weights: dict[str, Tensor] = {}
    for name, param in graph.params.items():
        sizes = tuple(graph.dims.size(entry) or 0 for entry in param.shape)
        if name.startswith("inv_freq"):
            values = np.array(rope.table(), np.float32)
        else:
            scale = 1.0 if len(sizes) == 1 else sizes[-1] ** -0.5
            values = (rng.standard_normal(sizes) * scale).astype(np.float32)
        weights[name] = Tensor(name, values.shape, "f32", values)
    return graph, weights
