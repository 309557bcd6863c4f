"""Plans kept on disk: the ones that were compiled, and never damaged or other ones."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import toy
from msgspec.structs import replace

from treadle.backends.mega import Mega
from treadle.backends.mega.plans import Bucket, buckets
from treadle.graph import Graph, outline
from treadle.limits import Limits
from treadle.mega import to_bytes

RULES = toy.Rules(page=16, head=16)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TREADLE_CACHE", str(tmp_path))
    return tmp_path / "plans"


def made(graph: Graph, tokens: int = 64) -> list[Bucket]:
    return buckets(graph, threads=2, tokens=tokens, slots=4, context=64)


def same(found: list[Bucket], wanted: list[Bucket]) -> None:
    names = ("rows", "data", "matrices", "vectors")
    assert [[getattr(b, n) for n in names] for b in found] == [
        [getattr(b, n) for n in names] for b in wanted
    ]
    assert all(to_bytes(bucket.plan) == bucket.data for bucket in found)


def test_what_is_kept_is_what_was_compiled(cache: Path) -> None:
    graph = toy.build(toy.SPECS["moe"], RULES)
    fresh = made(graph)
    assert [bucket.rows >= 64 for bucket in fresh] == [False, True]
    assert [*graph.params]  # every param is read as one or the other
    for bucket in fresh:
        assert bucket.matrices | bucket.vectors == {*range(len(graph.params))}
        assert not bucket.matrices & bucket.vectors
    same(made(graph), fresh)
    rng = random.Random(2)
    for file in sorted(cache.glob("*/*.bin")):
        whole = file.read_bytes()
        for at in (0, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(3))):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            same(made(graph), fresh)
            assert file.read_bytes() == whole  # written again
        file.write_bytes(whole[: len(whole) // 2])
        same(made(graph), fresh)


def test_another_graph_or_size_has_plans_of_its_own(cache: Path) -> None:
    graph = toy.build(toy.SPECS["llama"], RULES)
    made(graph)
    count = len([*cache.iterdir()])
    assert len(made(graph, tokens=1)) == 1
    made(toy.build(toy.SPECS["biased"], RULES))
    assert len([*cache.iterdir()]) == 2 * count + 1


def test_a_disk_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plans").write_text("no folder")
    monkeypatch.setenv("TREADLE_CACHE", str(tmp_path))
    graph = toy.build(toy.SPECS["llama"], RULES)
    same(made(graph), made(graph))


@pytest.mark.parametrize("name", ["llama", "moe", "biased"])
def test_what_was_planned_runs_again_without_its_graph(cache: Path, name: str) -> None:
    graph = toy.build(toy.SPECS[name], RULES)
    weights, limits, backend = toy.weights(graph), Limits(), Mega(threads=2)
    kept = outline(graph)
    assert backend.reopen(kept, weights, limits, pages=4) is None
    logits: list[bytes] = []
    for make in (backend.compile, backend.reopen):
        made = make(graph if make == backend.compile else kept, weights, limits, pages=4)
        assert made is not None
        batch = toy.ascending(4, 16).batch({"a": [1, 2, 3]}, rows="last")
        logits.append(made.forward(batch).array.tobytes())
        made.close()
    assert logits[0] == logits[1]
    fewer = replace(limits, batch_tokens=16)  # other sizes have plans of their own
    assert backend.reopen(kept, weights, fewer, pages=4) is None
    assert backend.reopen(kept, weights, limits, pages=5) is None
    (victim, *_) = sorted(cache.iterdir())
    (victim / "tasks.bin").unlink()
    assert backend.reopen(kept, weights, limits, pages=4) is None
