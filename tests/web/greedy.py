"""Greedy tokens of a whole model on a software GPU against the reference, token by token.

    python tests/web/greedy.py [MODEL] [--tier t0] [--tokens 32] [--out FILE]

The plan runs through wgpu-py as the browser runs it; the reference is numpy over the same weights
with float16 KV. Both take their own tokens: the first that differ end the run with exit code 1.
`--out` writes prompt and tokens of the reference for web/test/greedy.ts, which does the same in
Dawn and Chromium.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from executor import PlanExecutor

from treadle.export import lower
from treadle.export.shards import layout
from treadle.graph import run
from treadle.limits import Limits
from treadle.models import Model, load
from treadle.models.quant import dequantise
from treadle.text import Tokenizer
from treadle.text.gguf import gguf_spec
from treadle.types import Batch

PROMPT = "The sea is salty because"
PAGES = 8


def batch_of(ids: list[int], done: int) -> Batch:
    """The step that runs tokens `done` and later of one sequence."""
    new = np.arange(done, len(ids), dtype=np.int32)
    starts, lens = np.array([0, len(new)], np.int32), np.array([len(ids)], np.int32)
    table, rows = np.arange(PAGES, dtype=np.int32)[None], np.array([len(new) - 1], np.int32)
    return Batch(np.array(ids[done:], np.int32), new, new, starts, lens, table, rows)


def reference(model: Model, ids: list[int]) -> Iterator[np.ndarray]:
    """Logits of each step; `ids` grows between them."""
    graph, done = model.graph, 0
    params = {name: dequantise(model.weights[name]) for name in graph.params}
    state: dict[str, Any] = {
        name: np.zeros([n or PAGES for n in graph.dims.sizes(value.shape)], np.float16)
        for name, value in graph.state.items()
    }
    while True:
        batch = batch_of(ids, done)
        given = {name: getattr(batch, name) for name in graph.inputs}
        outs, state = run(graph, given, params, state, in_place=True)
        done = len(ids)
        yield outs[graph.outputs[0]][0]


def main() -> int:
    """Runs both and prints a line a token."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--tier", default="t0", choices=sorted(lower.FEATURES))
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    model = load(given.model)
    tokenizer = Tokenizer(gguf_spec(model.tokenizer_source.metadata, Limits()))
    prompt = [int(id) for id in tokenizer.encode(PROMPT)]
    table = layout(model.graph, model.weights)
    tier = lower.tier_gpu(given.tier, model.graph, table)
    sizes = {"T": 32, "S": 1, "R": 1, "L": PAGES, "P": PAGES, "E": 8}
    plan = PlanExecutor(tier, model.weights, sizes)
    ids = list(prompt)
    steps, done = reference(model, ids), 0
    for index in range(given.tokens):
        begun = time.monotonic()
        wanted = next(steps)
        got = plan.forward(batch_of(ids, done))[0]
        done = len(ids)
        token, own = int(wanted.argmax()), int(got.argmax())
        off = float(np.abs(got - wanted).max() / np.abs(wanted).max())
        took = time.monotonic() - begun
        print(f"{index} {own} {token} off {off:.1e} in {took:.1f} s", file=sys.stderr, flush=True)
        if own != token:
            print(f"token {index} differs: {own}, the reference has {token}")
            return 1
        ids.append(token)
        if given.out:
            said = {"prompt": prompt, "tokens": ids[len(prompt) :]}
            given.out.write_text(json.dumps(said))
    print(f"{given.tokens} of {given.tokens} greedy tokens equal, tier {given.tier}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
