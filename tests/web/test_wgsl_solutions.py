"""The WGSL solutions of the dataset are what the kernels print; `tests/kernels` runs them."""

from __future__ import annotations

from pathlib import Path

from treadle.export.solutions import solutions
from treadle.kernels.schema import check_solution
from treadle.kernels.store import Dataset

DATA = Dataset(Path(__file__).parents[2] / "kernels", readonly=True)
MADE = {one.definition: one for one in solutions(DATA.definitions())}


def test_the_dataset_holds_what_the_kernels_print() -> None:
    held = {one.definition: one for one in DATA.solutions() if one.spec.language == "wgsl"}
    assert held == MADE, "run `treadle export kernels kernels`"
    assert {DATA.definitions()[name].op_type for name in held} == {
        "gate_up_glu", "gemm", "linear_add", "qkv", "rmsnorm", "rmsnorm_linear", "take_norm_linear",
    }  # fmt: skip
    for one in held.values():
        check_solution(one)
