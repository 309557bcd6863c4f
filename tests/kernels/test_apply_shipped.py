"""The traces that ship choose for the devices they were taken on, and for no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from treadle.kernels.apply import Policy, Table
from treadle.kernels.enable import open_table
from treadle.kernels.store import Dataset

ROOT = Path(__file__).parents[2] / "kernels"
CPU, GPU = "cpu:x86-64-v4/2c", "cuda:H200"
NORM = "add_rmsnorm_h576_f32_eps1e-05"


@pytest.fixture(scope="module")
def data() -> Dataset:
    return Dataset(ROOT, readonly=True)


@pytest.mark.parametrize(("device", "kind", "least"), [(CPU, "cpu", 8), (GPU, "cuda", 8)])
def test_winners_come_from_the_files_of_that_device(
    data: Dataset, device: str, kind: str, least: int
) -> None:
    table, won = Table.from_store(data, device, Policy(), kind=kind), 0
    solutions = {one.name: one for one in data.solutions()}
    for name in table.names():
        core = table.core(name)
        assert core is not None
        passed = {
            (t.solution, t.evaluation.environment.hardware)
            for t in data.traces(name)
            if t.evaluation is not None and t.evaluation.status == "PASSED"
        }
        for point in core.evidence.points:
            winner = point.winner()
            if winner is None:
                continue
            won += 1
            assert (winner, device) in passed
            assert point.ratios[winner].low >= 1.02
            assert not solutions[winner].name.startswith("treadle_torch_")
    assert won >= least


def test_another_model_gets_the_fallback_and_hears_why(data: Dataset) -> None:
    table = Table.from_store(data, "cpu:x86-64-v4/3c", Policy())
    for name in table.names():
        core = table.core(name)
        assert core is not None
        assert not core.evidence.points
    axes = {"T": 1}
    assert table.decide(NORM, axes).solution is None
    assert CPU in table.decide(NORM, axes).reason


def test_a_shipped_winner_is_built_and_answers(tmp_path: Path) -> None:
    table = open_table(ROOT, CPU, cache=tmp_path, policy=Policy(shadow=0))

    def plain(*operands: torch.Tensor) -> tuple[torch.Tensor, ...]:
        raise AssertionError(f"the fallback was asked for {len(operands)} operands")

    handle = table.resolve(NORM, plain)
    assert table.wait(120)
    d = table.definition(NORM)
    assert len(d.inputs) == 3
    x, residual, weight = torch.randn(1, 576), torch.randn(1, 576), torch.randn(576)
    total = x + residual
    normed = total * torch.rsqrt(total.pow(2).mean(-1, keepdim=True) + 1e-5) * weight
    made = dict(zip(d.outputs, handle(x, residual, weight), strict=True))
    for got in made.values():
        other = total if torch.allclose(got, total, atol=1e-5) else normed
        torch.testing.assert_close(got, other, atol=1e-5, rtol=1e-5)
    assert table.counters()[NORM]["hit"] == 1
