"""The WGSL solutions of the dataset: generated, valid, and what the definitions' references say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu import launch, read

from treadle.export.expr import evaluate
from treadle.export.solutions import LAUNCH, solutions
from treadle.export.wgsl import Binding, Kernel
from treadle.kernels.schema import Definition, Solution, check_solution
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


def run(solution: Solution, d: Definition, given: dict[str, np.ndarray], T: int) -> np.ndarray:
    """What the solution's files alone say."""
    files = {source.path: source.content for source in solution.sources}
    told = json.loads(files[LAUNCH])
    entry, _, symbol = solution.spec.entry_point.partition("::")
    assert symbol == "main"
    axes = {name: getattr(axis, "value", T) for name, axis in d.axes.items()}
    width = sum(axes[d.outputs[name].shape[1]] for name in told["outputs"]["out"])  # type: ignore[index]
    held: dict[str, Any] = {
        name: np.concatenate([given[operand].reshape(-1) for operand in operands])
        for name, operands in told["inputs"].items()
    }
    held["out"] = np.zeros(T * width, np.float32)
    bindings = tuple(Binding(name, "", name == "out") for name in held)
    grid = tuple(evaluate(text, axes) for text in told["grid"])
    words = {name: evaluate(text, axes) for name, text in told.get("uniform", {}).items()}
    out = launch(Kernel(entry, files[entry], bindings), held, grid, words)["out"]
    return read(out, np.float32, T * width).reshape(T, width)


@pytest.mark.parametrize(
    "name",
    [n for n, one in MADE.items() if n.startswith(("qkv", "rmsnorm"))],
)  # fmt: skip
def test_solutions_compute_what_their_definitions_say(name: str) -> None:
    torch = pytest.importorskip("torch", reason="references are written in torch")
    d, rng, T = DATA.definitions()[name], np.random.default_rng(7), 3
    given = {
        operand: rng.standard_normal(
            [getattr(d.axes[axis], "value", T) for axis in tensor.shape or ()], np.float32
        )
        for operand, tensor in d.inputs.items()
    }
    space: dict[str, Any] = {}
    exec(d.reference, space)
    wide = space["run"](*(torch.from_numpy(value).double() for value in given.values()))
    wanted = torch.cat(wide if isinstance(wide, tuple) else (wide,), -1).numpy()
    found = run(MADE[name], d, given, T)
    assert np.abs(found - wanted).max() < 3e-6 * np.abs(wanted).max()
