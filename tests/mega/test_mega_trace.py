"""What workers record of real steps: every task once and in order, and the files made of it."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from xml.dom import minidom

import numpy as np
import pytest

from treadle import _core
from treadle.cli.main import main
from treadle.mega import show, timeline
from treadle.mega.records import Code
from treadle.models import llama
from treadle.models.rope import Rope
from treadle.models.shape import Shape
from treadle.types import Tensor

SHAPE = Shape(3, 64, 4, 2, 16, 96, 150, 1e-5, 128, False)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A random tiny model, which every command loads now."""
    graph = llama.build(llama.Config(SHAPE, Rope(16, 100.0)), page=16)
    rng = np.random.default_rng(0)
    weights = {}
    for name, param in graph.params.items():
        sizes = graph.dims.sizes(param.shape)
        values = rng.standard_normal(sizes).astype(np.float32) * 0.2
        weights[name] = Tensor(name, values.shape, "f32", values)
    made = SimpleNamespace(name="tiny", graph=graph, weights=weights)
    monkeypatch.setattr("treadle.models.load", lambda *_, **__: made)
    return made


def test_a_trace_holds_every_task_of_every_step(model: SimpleNamespace, tmp_path: Path) -> None:
    from treadle.cli.mega_trace import TraceConfig, record

    config = TraceConfig(
        output="x.json", threads=2, prompt_tokens=40, tokens=6, sequences=3, temperature=0.0
    )
    found = record(config)
    whole = timeline.steps(found.spans, found.workers)
    assert len(whole) >= 6
    assert {step.plan for step in whole} == {0, 1}  # few rows, and a prompt's
    for step in whole:
        plan = found.plans[step.plan]
        for worker in range(found.workers):
            own = [span for span in step.spans if span.worker == worker]
            for before, after in pairwise(own):
                assert before.end <= after.start
            kinds = [span.kind for span in own if span.kind not in ("wait", "idle")]
            assert kinds == [Code(task.op).name.lower() for task in plan.list_of(worker)]
        assert sum(step.by.values()) == pytest.approx((step.end - step.start) * found.workers)
        assert min(step.by.values()) >= -1e-6
        assert {span.layer for span in step.spans} == {-1, 0, 1, 2}
        assert any(span.label == "gate+up" for span in step.spans)
    events = timeline.chrome(found.spans, found.workers)["traceEvents"]
    phases = Counter(event["ph"] for event in events)
    assert phases["M"] == 4
    assert phases["X"] == sum(span.worker < 2 for span in found.spans)
    assert phases["s"] == phases["f"] > 0


def test_commands_write_what_viewers_open(
    model: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, picture, layer = (tmp_path / name for name in ("t.json", "p.svg", "l.svg"))
    assert main(["mega", "trace", "-o", str(trace), "--picture", str(picture), "--tokens", "4",
                 "--threads", "2", "--prompt-tokens", "20"]) == 0  # fmt: skip
    assert json.loads(trace.read_text())["traceEvents"]
    words = [
        node.firstChild.data for node in minidom.parse(str(picture)).getElementsByTagName("text")
    ]
    assert any(word.startswith("plan of 16 rows") for word in words)
    assert "linear gate+up" in words
    assert "worker 1" in words
    assert main(["mega", "show", "-o", str(layer), "--workers", "2"]) == 0
    assert "linear" in layer.read_text()
    capsys.readouterr()
    assert main(["mega", "show", "--workers", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("worker") for line in lines) == 3 * 5
    for wrong in (["trace"], ["trace", "-o", "x.txt"], ["show", "-o", "x.png"], ["draw"]):
        assert main(["mega", *wrong]) == 2


def test_dot_names_every_task_and_counter(model: SimpleNamespace) -> None:
    from treadle.cli.mega import ShowConfig, planned

    plan = planned(model.graph, ShowConfig(workers=2))
    text = show.dot(plan)
    longest = max(range(len(plan.segments)), key=lambda s: plan.segments[s].repeat)
    bounds = plan.index[longest]
    tasks = plan.tasks[bounds[0] : bounds[-1]]
    assert text.count("[label=") == len(tasks)
    signals = sum(f" -> c{task.sig};" in text for task in tasks)
    assert signals == len(tasks)
    assert text.count("{") == text.count("}")


def test_a_ring_keeps_the_latest(model: SimpleNamespace) -> None:
    from treadle.backends.mega import Mega
    from treadle.limits import Limits
    from treadle.types import Batch

    def run(records: int) -> list[bytes]:
        exe = Mega(threads=1, isa=_core.cpu_isas()[0], trace=records).compile(
            model.graph, model.weights, Limits(), pages=4
        )
        i32 = [np.array(x, np.int32) for x in ([5], [0], [0], [0, 1], [1], [[0]], [0])]
        for _ in range(3):
            exe.forward(Batch(*i32)).call.wait()
        rings = exe.trace()
        exe.close()
        return rings

    assert run(0) == [b"", b""]
    few, many = run(7)[0], run(1000)[0]
    size = timeline.RECORD.itemsize
    assert len(few) == 7 * size < len(many)
    wanted, kept = (np.frombuffer(ring, timeline.RECORD)[-7:] for ring in (many, few))
    assert kept["what"].tolist() == wanted["what"].tolist()
    assert (np.diff(kept["start"]) >= 0).all()
