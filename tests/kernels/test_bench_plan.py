"""What a bench measures: solutions made for the device, against each definition's own baseline."""

from __future__ import annotations

from pathlib import Path

from treadle.kernels.run import coordinator
from treadle.kernels.store import Dataset

NAME = "rmsnorm_h2048_bf16_eps1e-05"
OURS = Dataset(Path(__file__).parents[2] / "kernels", readonly=True)


def measured(device: str | None, **chosen: list[str]) -> set[str]:
    tasks = coordinator.plan(
        OURS, [NAME], baseline="treadle_torch_{definition}", device=device, **chosen
    )
    assert {task.baseline.name for task in tasks} == {f"treadle_torch_{NAME}"}
    return {task.candidate.name.removesuffix(f"_{NAME}") for task in tasks}


def test_solutions_of_another_kind_of_device_are_left_out() -> None:
    assert measured("cpu") == {"treadle_cpp"}
    assert measured("cuda:NVIDIA H200") == {"treadle_cuda", "treadle_triton"}
    assert measured(None) == {"treadle_cpp", "treadle_cuda", "treadle_triton"}


def test_a_named_solution_is_measured_anywhere() -> None:
    assert measured("cpu", solutions=[f"treadle_cuda_{NAME}"]) == {"treadle_cuda"}
