"""The whole stack in a second: a tiny graph, a tiny grammar, one constrained request."""

from __future__ import annotations

import json

import numpy as np

from treadle.backends.table import backend
from treadle.engine.request import Submit
from treadle.engine.runner import Engine
from treadle.grammar import Compiler, Grammar, Vocab
from treadle.limits import Limits
from treadle.models import llama
from treadle.models.rope import Rope
from treadle.models.shape import Shape
from treadle.types import Sampling, Tensor, TokenKind, TokenTable

SHAPE = Shape(2, 16, 4, 2, 4, 24, 257, 1e-5, 128, True)
TABLE = TokenTable(
    (*(bytes([i]) for i in range(256)), b"<end>"),
    (TokenKind.NORMAL,) * 256 + (TokenKind.CONTROL,),
    (256,),
)


def test_a_random_model_answers_by_schema() -> None:
    graph = llama.build(llama.Config(SHAPE, Rope(SHAPE.d, 10_000.0)))
    rng = np.random.default_rng(0)
    weights = {
        name: Tensor(
            name,
            shape := tuple(graph.size(axis) for axis in param.shape),
            "f32",
            rng.standard_normal(shape, np.float32),
        )
        for name, param in graph.params.items()
    }
    schema = {"type": "object", "properties": {"n": {"enum": [1, 23]}}, "required": ["n"],
              "additionalProperties": False}  # fmt: skip
    grammar = Compiler(Vocab(TABLE)).compile(Grammar.json_schema(schema, whitespace=2))
    exe = backend("reference").compile(graph, weights, Limits(), pages=16)
    engine = Engine(exe, TABLE)
    engine.start()
    try:
        from treadle.engine.channel import Channel

        channel = Channel(64)
        sampling = Sampling(max_tokens=64, seed=1)
        engine.submit(Submit(engine.next_id(), tuple(b"Go:"), sampling, grammar), channel)
        text = ""
        while True:
            channel.wait(30)
            try:
                delta = channel.take()
            except StopIteration:
                break
            text += delta.text if delta else ""
    finally:
        engine.close()
    assert json.loads(text)["n"] in (1, 23)
