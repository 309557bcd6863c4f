"""Windows, soft caps, norms behind branches and wide heads in the generated kernel, on fibers
against the graph's reference."""

from __future__ import annotations

import pytest
from cuda_host import compiler, program, rounded, rounding
from test_mega_cuda_host import CONTEXT, PAGE, assembled, follow, rope, shape
from tiny_models import weights

from treadle.graph import Graph
from treadle.mega.codegen_program import Knobs
from treadle.models import gemma2, gemma3
from treadle.models.rope import Rope

LONG = 32_768

MODELS: dict[str, tuple[Graph, int, int, int]] = {  # graph, workers, rows, positions
    "gemma2-long": (  # two kinds of layers, scores and logits capped low enough to show
        gemma2.build(
            gemma2.Config(shape(K=1, F=64, tied=True), rope(), (70, 0, 70), 0.2, 3.0, 2.0),
            page=PAGE,
        ), 4, 1, LONG),
    "gemma2-fed": (  # one kind
        gemma2.build(
            gemma2.Config(shape(F=64, tied=True), rope(), (70,) * 3, 0.2, 3.0, 2.0), page=PAGE
        ), 4, 5, CONTEXT),
    "gemma3": (  # heads of 256: a page is four tiles; two rope bases
        gemma3.build(
            gemma3.Config(
                shape(layers=3, d=256, K=1, tied=True), rope(256), Rope(256, 10.0), (70, 70, 0),
                0.1, 0.0,
            ), page=PAGE), 4, 2, CONTEXT),
}  # fmt: skip


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler on this machine")
@pytest.mark.parametrize("name", MODELS)
def test_steps_equal_the_reference(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Launches at whose positions windows leave out pages and segments, and segments are longer
    than where rows are short; the long one is a step at the very end."""
    rounding(monkeypatch)
    graph, workers, rows, context = MODELS[name]
    params = rounded(graph, weights(graph))
    params |= {n: x * 0.4 for n, x in params.items() if n == "inv_freq_local"}
    long = context == LONG
    made = program(graph, workers, rows, context, Knobs() if long else Knobs(segments=3))  # of four
    assert made.fed == (name == "gemma2-fed")
    m = assembled(graph, params, made, {})
    at, launches = (LONG - 1, (1,)) if long else (189, (1, 2))
    follow(name, graph, params, m, position=at, launches=launches, bound=1.2e-2)
