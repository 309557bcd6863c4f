"""The torch backend with a table: same tokens whatever was planted, and what was planted runs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import planted
import pytest

sys.path.append(str(Path(__file__).parents[1] / "backends"))
import toy

from treadle.backends.table import backend
from treadle.kernels.apply import Policy
from treadle.kernels.definitions.derive import define
from treadle.kernels.definitions.nodes import decode_view, gemm_view
from treadle.kernels.store import Dataset
from treadle.limits import Limits

SPEC = toy.Spec()
GRAPH = toy.build(SPEC)
WEIGHTS = toy.weights(GRAPH)
PROMPTS = {"a": [3, 1, 4, 1, 5, 9, 2], "b": [6, 5, 3]}

HONEST = {
    "gemm": "def run(A, B):\n    return A @ B.T\n",
    "rmsnorm": (
        "def run(x, w):\n    v = x.double()\n"
        "    return (v / (v.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w).float()\n"
    ),
    "gate_up_glu": (
        "import torch\n"
        "def run(x, wg, wu):\n    return torch.nn.functional.silu(x @ wg.T) * (x @ wu.T)\n"
    ),
    "add_rmsnorm": (
        "def run(x, y, w):\n    s = x + y\n    v = s.double()\n"
        "    return s, (v / (v.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w).float()\n"
    ),
}
WRONG = {key: text.replace("return ", "return 0 * ") for key, text in HONEST.items()}
WRONG["add_rmsnorm"] = "def run(x, y, w):\n    return x + y, 0 * x\n"


def definitions():
    yield "gemm", gemm_view(48, 23, "f32")  # q, k and v together
    yield "rmsnorm", define("rmsnorm", "rmsnorm_toy", {"D": 23}, act="f32", attrs={"eps": 1e-5})
    yield (
        "gate_up_glu",
        define("gate_up_glu", "gate_toy", {"D": 23, "F": 19}, act="f32", attrs={"act": "silu"}),
    )
    yield (
        "add_rmsnorm",
        define("add_rmsnorm", "add_norm_toy", {"D": 23}, act="f32", attrs={"eps": 1e-5}),
    )


def tokens(executable, spec=SPEC, steps=6):
    """Greedy tokens of two prompts together, and of one alone after."""
    pages = toy.scattered(40)
    work, out = dict(PROMPTS), []
    for _ in range(steps):
        handle = executable.forward(pages.batch(work, rows="last"))
        ids = executable.sample(handle, None, toy.params(handle.rows)).wait().ids
        out.append([int(i) for i in ids])
        work = {key: [int(i)] for key, i in zip(work, ids, strict=True)}
    return out


def planted_table(root: Path, bodies: dict[str, str], shadow: int):
    data = Dataset(root)
    for key, d in definitions():
        data.add(d)
        data.add(planted.solution(d, f"s_{key}", bodies[key]))
        axis = "M" if key == "gemm" else "T"
        for m in (1, 2, 4, 8, 16):
            data.append(planted.trace(d, f"s_{key}", {axis: m}), "planter", flush=False)
    return planted.table(data, Policy(shadow=shadow))


@pytest.mark.parametrize(("bodies", "shadow"), [(HONEST, 0), (HONEST, 1), (WRONG, 1)])
def test_tokens_stay_the_same(tmp_path, bodies, shadow):
    plain = backend("torch", device="cpu").compile(GRAPH, WEIGHTS, Limits(), pages=40)
    want = tokens(plain)
    plain.close()
    table = planted_table(tmp_path, bodies, shadow)
    executable = backend("torch", device="cpu", kernels=table).compile(
        GRAPH, WEIGHTS, Limits(), pages=40
    )
    assert table.wait()
    assert tokens(executable) == want
    executable.close()
    counts = table.counters()
    assert {k.partition("_")[0] for k in counts} == {"gemm", "rmsnorm", "gate", "add"}
    for name, found in counts.items():
        (entry,) = found["entries"].values()
        assert found["hit"] > 0, name
        if bodies is HONEST:
            assert entry["state"] == "ready", (name, entry)
            assert not found["miss"], (name, found)
            assert entry["shadow"] == (found["hit"] if shadow else 0)
        else:
            assert entry["state"] == "open", (name, entry)


def test_a_norm_with_another_epsilon_is_left_alone(tmp_path):
    d = define("rmsnorm", "rmsnorm_toy", {"D": 23}, act="f32", attrs={"eps": 1e-6})
    one = planted.solution(d, "s", WRONG["rmsnorm"])
    data = planted.dataset(tmp_path, d, one, traces=[planted.trace(d, "s", {"T": 2})])
    table = planted.table(data)
    backend("torch", device="cpu", kernels=table).compile(
        GRAPH, WEIGHTS, Limits(), pages=40
    ).close()
    assert table.counters() == {}


@pytest.mark.parametrize("page", [1, 4])
def test_decode_attention_runs_over_page_lists(tmp_path, page):
    spec = toy.Spec(heads=(5, 1) if page == 1 else (32, 8), d=128, rotary=64, layers=2)
    graph = toy.build(spec, toy.Rules(page=page))
    weights = toy.weights(graph)
    d = decode_view(*spec.heads, 128, page, "bf16")
    one = planted.solution(d, "s", d.reference)
    axes = {n: 1 for n, a in d.axes.items() if not hasattr(a, "value")}
    rows = [
        planted.trace(d, "s", {**axes, "batch_size": 2, "len_indptr": 3, "num_kv_indices": n})
        for n in (2, 4, 8, 16, 32)
    ]
    table = planted.table(planted.dataset(tmp_path, d, one, traces=rows), Policy(shadow=3))
    made = []
    for kernels in (None, table):
        executable = backend("torch", device="cpu", dtype="bf16", kernels=kernels).compile(
            graph, weights, Limits(), pages=80
        )
        table.wait()
        pages, logits = toy.scattered(80, page), []
        for work in (PROMPTS, {"a": [7], "b": [8]}, {"a": [1], "b": [2]}, {"a": [1, 2], "b": [2]}):
            logits.append(executable.forward(pages.batch(work)).call.wait().numpy())
        made.append(logits)
        executable.close()
    for got, want in zip(*made, strict=True):
        assert np.abs(got - want).max() <= 0.03 * np.abs(want).max()
    found = table.counters()[d.name]
    assert found["hit"] == 4, found  # two layers, two steps of one query each
    assert found["entries"]["s"]["state"] == "ready", found
    assert found["entries"]["s"]["shadow"] == 2
