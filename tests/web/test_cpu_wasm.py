"""The CPU module in node: the native runtime's tokens, for every family and for SmolLM2-135M."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_bundle import blocks, decoded, greedy

from treadle.cli.main import main
from treadle.export.cpu import tier_cpu
from treadle.export.shards import layout, shards
from treadle.graph import Graph
from treadle.models import gemma2, gemma3, llama, load, qwen2, qwen3, qwen3_moe
from treadle.models.rope import Rope
from treadle.models.shape import Shape
from treadle.text import Tokenizer
from treadle.types import Tensor

ROOT = Path(__file__).parents[2]
WASM = ROOT / "build" / "wasm" / "cpu-simd.wasm"
CONTEXT, SHARD = 128, 1 << 20

pytestmark = [
    pytest.mark.skipif(not WASM.exists(), reason="needs build/wasm/cpu-simd.wasm: make wasm"),
    pytest.mark.skipif(shutil.which("node") is None, reason="needs node"),
]


def in_node(bundle: Path, ids: list[int], count: int) -> list[int]:
    """Greedy tokens of the module."""
    script = Path(__file__).with_name("run_cpu.mjs")
    command = ["node", str(script), str(bundle), str(WASM), str(count), json.dumps(ids)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def shape(**changes: Any) -> Shape:
    sizes: dict[str, Any] = {
        "layers": 2, "D": 64, "H": 4, "K": 2, "d": 32, "F": 96, "V": 150, "eps": 1e-5,
        "context": CONTEXT, "tied": False,
    }  # fmt: skip
    return Shape(**(sizes | changes))


ROPE = Rope(32, 100.0)
GRAPHS: dict[str, Graph] = {
    "llama": llama.build(llama.Config(shape(tied=True), ROPE), page=16),
    "qwen2": qwen2.build(qwen2.Config(shape(), ROPE, (0, 37)), page=16),
    "qwen3": qwen3.build(qwen3.Config(shape(), ROPE, (0, 0)), page=16),
    "gemma2": gemma2.build(
        gemma2.Config(shape(tied=True), ROPE, (20, 0), 0.3, 20.0, 15.0), page=16),
    "gemma3": gemma3.build(
        gemma3.Config(shape(tied=True), ROPE, Rope(32, 10.0), (20, 0), 0.3, 0.0), page=16),
    "moe": qwen3_moe.build(
        qwen3_moe.Config(shape=shape(F=32), rope=ROPE, window=0, E=6, A=2, renorm=True,
                         sparse=(True, False), dense_width=96), page=16),
}  # fmt: skip


def weights(graph: Graph, mixed: bool) -> dict[str, Tensor]:
    """Random params; mixed: matrices in turn of every plain and small block format."""
    rng = np.random.default_rng(5)
    kinds = ("q8_0", "q4_1", "f16", "bf16", "f32") if mixed else ("f32",)
    found: dict[str, Tensor] = {}
    for number, (name, param) in enumerate(graph.params.items()):
        size = tuple(n or 0 for n in graph.dims.sizes(param.shape))
        scale = 0.3 if len(size) == 1 else 1.5 * size[-1] ** -0.5
        values = rng.standard_normal(size) * scale + ("norm" in name)
        if name.startswith("inv_freq"):
            values = 10.0 ** -np.linspace(0, 2, size[0])
        kind = kinds[number % len(kinds)] if len(size) > 1 else "f32"
        data: Any = values.astype(np.float32)
        if kind in ("q8_0", "q4_1"):
            data = blocks(rng, int(np.prod(size[:-1])), size[-1], kind.upper())
        elif kind == "f16":
            data = data.astype(np.float16)
        elif kind == "bf16":
            data = (data.view(np.uint32) >> 16).astype(np.uint16)
        found[name] = Tensor(name, size, kind, data)
    return found


@pytest.mark.parametrize("family", GRAPHS)
def test_every_family_says_what_it_says_natively(family: str, tmp_path: Path) -> None:
    graph = GRAPHS[family]
    params = weights(graph, mixed=family in ("llama", "qwen2", "moe"))
    graph = graph.with_formats({name: tensor.format for name, tensor in params.items()})
    table = layout(graph, params)
    tier = tier_cpu(graph, table, CONTEXT)
    paths: list[str] = []
    for data in shards(table, params, SHARD):
        paths.append(f"weights-{len(paths):05}.bin")
        (tmp_path / paths[-1]).write_bytes(data)
    for path, data in tier.files.items():
        (tmp_path / path).write_bytes(data)
    plan = {
        "weights": {name: weight.record(SHARD) for name, weight in table.items()},
        "shards": paths,
        "tiers": {"cpu": tier.record},
    }
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    (tmp_path / "manifest.json").write_text(json.dumps({"limits": {"vocab": 150}}))
    ids = [(37 * i + 11) % 150 for i in range(70)]  # more than a chunk, and than a window
    assert in_node(tmp_path, ids, 12) == decoded(graph, params, ids, 12)["tokens"]


def test_smollm2_says_what_it_says_natively(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    assert main(["export", "web", "smollm2-135m", "-o", str(bundle)]) == 0
    tokenizer = Tokenizer.from_gguf(load("smollm2-135m").tokenizer_source.metadata)
    story = "The history of bread begins long before the first towns. " * 6  # more than a chunk
    for text in ("The capital of France is", story):
        ids = tokenizer.encode(text)
        assert in_node(bundle, ids, 32) == greedy("smollm2-135m", ids, 32)["tokens"]
