"""Outlines on disk: those of the graph that would be built, and never damaged or other ones."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from treadle.graph import outline
from treadle.models import load, outlines
from treadle.models.mapping import Elements
from treadle.models.sources import locate
from treadle.models.weights import Checkpoint
from treadle.types import Tensor


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    path = locate("smollm2-135m", progress=False)
    monkeypatch.setenv("TREADLE_CACHE", str(tmp_path))
    return str(path)


def test_what_is_kept_is_of_the_graph_that_would_be_built(model: str, tmp_path: Path) -> None:
    fresh, again = load(model), load(model)
    assert "graph" not in again.__dict__  # nobody has asked for it
    assert again.outline == fresh.outline == outline(fresh.graph) == outline(again.graph)
    assert again.graph == fresh.graph
    assert [*again.weights] == [*fresh.graph.params]
    for name, (format, shape) in again.outline.params.items():
        tensor = again.weights[name]
        assert (tensor.format, tensor.shape) == (format, shape)
        assert tensor.raw == fresh.weights[name].raw
    (file,) = (tmp_path / "graphs").iterdir()
    whole, rng = file.read_bytes(), random.Random(3)
    for at in (0, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(3))):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert load(model).outline == fresh.outline
        assert file.read_bytes() == whole  # written again
    file.write_bytes(whole[:-9])
    assert load(model, page=32).outline.page_size == 32
    assert load(model).outline == fresh.outline


def test_the_name_tells_all_apart_that_a_graph_follows_from() -> None:
    memory = memoryview(bytes(64))
    tensors = {"w": Tensor("w", (4, 4), "f32", Elements.of("f32", (4, 4), memory))}
    plain = Checkpoint("gguf", Path("x"), {"layers": 2, "eps": 1e-5, "name": "a"}, tensors)
    other = Tensor("w", (2, 8), "f32", Elements.of("f32", (2, 8), memory))
    halves = Tensor("w", (4, 4), "f16", Elements.of("f16", (4, 4), memory[:32]))
    asked = ("llama", "f32", 16)
    found = [outlines.key_of(plain, *asked)]
    for family, act, page in (("qwen2", "f32", 16), ("llama", "bf16", 16), ("llama", "f32", 32)):
        found.append(outlines.key_of(plain, family, act, page))
    for config in ({}, {**plain.config, "layers": 3}, {**plain.config, "eps": 1e-6}):
        found.append(outlines.key_of(replace(plain, config=config), *asked))
    for named in ({}, {"w": other}, {"w": halves}, {"v": tensors["w"]}):
        found.append(outlines.key_of(replace(plain, tensors=named), *asked))
    found.append(outlines.key_of(replace(plain, kind="hf"), *asked))
    assert len({*found}) == len(found)
    moved = replace(plain, path=Path("y"))  # where a file lies changes nothing
    assert outlines.key_of(moved, *asked) == found[0]
