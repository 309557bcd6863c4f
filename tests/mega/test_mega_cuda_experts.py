"""Experts in the generated kernel on fibers against the graph's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_host import PAGE, compiler, program, rounded, rounding
from test_mega_cuda_host import CONTEXT, POOL, assembled, batch, rope, shape
from tiny_models import weights

from treadle.errors import Unsupported
from treadle.graph import Graph, run
from treadle.models import qwen3_moe
from treadle.types import Batch


def mixture(E: int, A: int, renorm: bool = True, **changes: Any) -> Graph:
    made = shape(**changes)
    sparse = (True,) * made.layers
    config = qwen3_moe.Config(made, rope(made.d), 0, E, A, renorm, sparse, made.F)
    return qwen3_moe.build(config, page=PAGE)


MODELS: dict[str, tuple[Graph, int, int]] = {  # graph, workers, rows
    "one-row": (mixture(16, 3, F=96), 4, 1),
    "rows": (mixture(80, 4, False, layers=1, F=544), 5, 3),  # shared experts, two tiles of down
    "prepared": (mixture(16, 2, layers=1, D=320, F=64), 5, 9),  # the norm is made by others
}


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler on this machine")
@pytest.mark.parametrize("name", MODELS)
def test_experts_equal_the_reference(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Launches of several steps. Values are zero, so that nothing of attention is rounded and the
    kernel has the reference's sums but for their order: one that was rounded otherwise could choose
    another expert."""
    graph, workers, rows = MODELS[name]
    rounding(monkeypatch, prepared=name == "prepared")
    params = rounded(graph, weights(graph))
    params |= {n: x * 0 for n, x in params.items() if n.endswith(".v")}
    m = assembled(graph, params, program(graph, workers, rows, CONTEXT), {})
    m.kv[:] = 0
    state = {
        n: np.zeros([POOL if x is None else x for x in graph.dims.sizes(v.shape)])
        for n, v in graph.state.items()
    }
    now, position = [7 + r for r in range(rows)], 62
    for steps in (1, 2):
        whole, tokens, logits = m.run([(t, position) for t in now], steps, seed=position)
        assert whole, m.error
        for step in range(steps):
            inputs = batch(m, now, position)
            out, state = run(
                graph, {n: getattr(inputs, n) for n in Batch.__struct_fields__}, params, state
            )
            wanted = out[graph.outputs[0]]
            now, position = wanted.argmax(-1).tolist(), position + 1
            assert now == tokens[step].tolist()
        assert np.linalg.norm(logits - wanted) < 1e-5 * np.linalg.norm(wanted)


def test_more_workers_than_a_tokens_strips_are_refused() -> None:
    with pytest.raises(Unsupported, match="more than strips of a token's experts"):
        program(mixture(16, 2, F=32), 16, 1, CONTEXT)
