"""Windows, soft caps, norms behind branches and wide heads in the generated kernel, on fibers
against the graph's reference; and for sm_90a without spills."""

from __future__ import annotations

import pytest
from cuda_host import compiler, program, rounded, rounding
from test_mega_cuda_host import CONTEXT, PAGE, assembled, follow, rope, shape
from tiny_models import weights

from treadle.graph import Graph
from treadle.mega.codegen import Knobs
from treadle.models import gemma2, gemma3, llama
from treadle.models.rope import Rope

MODELS: dict[str, tuple[Graph, int, int]] = {  # graph, workers, rows
    "gemma2": (  # two kinds of layers, scores and logits capped low enough to show
        gemma2.build(
            gemma2.Config(shape(layers=4, d=64, tied=True), rope(64), (70, 0) * 2, 0.2, 3.0, 2.0),
            page=PAGE,
        ), 4, 1),
    "gemma2-fed": (  # one kind
        gemma2.build(
            gemma2.Config(shape(F=64, tied=True), rope(), (70,) * 3, 0.2, 3.0, 2.0), page=PAGE
        ), 4, 5),
    "gemma3": (  # heads of 256: a page is four tiles; two rope bases
        gemma3.build(
            gemma3.Config(
                shape(layers=3, d=256, K=1, tied=True), rope(256), Rope(256, 10.0), (70, 70, 0),
                0.1, 0.0,
            ), page=PAGE), 4, 2),
}  # fmt: skip


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler on this machine")
@pytest.mark.parametrize("name", MODELS)
def test_steps_equal_the_reference(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Launches of several steps at whose positions windows leave out pages and segments."""
    rounding(monkeypatch)
    graph, workers, rows = MODELS[name]
    params = rounded(graph, weights(graph))
    params |= {n: x * 0.4 for n, x in params.items() if n == "inv_freq_local"}
    made = program(graph, workers, rows, CONTEXT, Knobs(segments=3))  # of four
    assert made.fed == (name == "gemma2-fed")
    follow(name, graph, params, assembled(graph, params, made, {}), position=189)


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler on this machine")
def test_a_long_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last two of 32,768 positions."""
    rounding(monkeypatch)
    graph = llama.build(llama.Config(shape(layers=1, K=1, F=64), rope()), page=PAGE)
    params = rounded(graph, weights(graph))
    m = assembled(graph, params, program(graph, 4, 1, 32_768), {})
    follow("long", graph, params, m, position=32_766, launches=(2,))
