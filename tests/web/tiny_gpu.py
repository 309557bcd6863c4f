"""`python tests/web/tiny_gpu.py FOLDER FILE` writes the tiny model's bundle with its WebGPU tier,
and what the reference says of it with float16 KV, for web/test/gpu_child.ts."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tiny_bundle import PROMPTS, TOKENS, write_gguf

from treadle.export import Options, write
from treadle.graph import run
from treadle.models import Model, load
from treadle.models.quant import dequantise

PAGES = 4


def greedy(model: Model, prompt: list[int]) -> dict[str, Any]:
    """Greedy tokens after a prompt, and the first logits."""
    graph = model.graph
    params = {name: dequantise(model.weights[name]) for name in graph.params}
    state: dict[str, Any] = {
        name: np.zeros([n or PAGES for n in graph.dims.sizes(value.shape)], np.float16)
        for name, value in graph.state.items()
    }
    ids, done, tokens, first = list(prompt), 0, [], []
    while len(tokens) < TOKENS:
        new = np.arange(done, len(ids), dtype=np.int32)
        batch = {
            "ids": np.array(ids[done:], np.int32), "pos": new, "slots": new,
            "starts": np.array([0, len(new)], np.int32), "lens": np.array([len(ids)], np.int32),
            "table": np.arange(PAGES, dtype=np.int32)[None],
            "rows": np.array([len(new) - 1], np.int32),
        }  # fmt: skip
        outs, state = run(graph, batch, params, state, in_place=True)
        logits = outs[graph.outputs[0]][0]
        first = first or [float(x) for x in logits]
        done = len(ids)
        tokens.append(int(logits.argmax()))
        ids.append(tokens[-1])
    return {"prompt": prompt, "tokens": tokens, "logits": first}


def main() -> int:
    folder, file = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as room:
        model = load(str(write_gguf(Path(room) / "tiny.gguf")))
        write(model, folder, ("cpu", "t0", "t1", "t0s", "t2"), Options(shard=1 << 20))
        file.write_text(json.dumps([greedy(model, list(prompt)) for prompt in PROMPTS]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
