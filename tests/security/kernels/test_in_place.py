"""Ops that libraries do in place: every output is written, and no input is that was not declared.

Ops of the graph are pure: what a library updates is an output of its own. In a definition of
FlashInfer's an output may be an input: that one operand is written, and no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from arena import QUICK, Entered, entered, solution

from treadle.errors import InvalidRequest
from treadle.kernels.build import build
from treadle.kernels.definitions.derive import define
from treadle.kernels.run.cpu import Cpu
from treadle.kernels.run.match import Match
from treadle.kernels.run.refusal import Refused
from treadle.kernels.run.stage import Side
from treadle.kernels.schema import (
    AxisConst,
    AxisVar,
    Definition,
    RandomInput,
    Tensor,
    Workload,
    places_written,
)

pytestmark = pytest.mark.alone


@dataclass(frozen=True)
class Case:
    """An op with an honest solution, and outputs and inputs of it. last: of a body that forgets
    output by output; over: input → what an in-place kernel would do to it."""

    definition: Definition
    axes: dict[str, int]
    honest: str
    lines: dict[str, str]
    over: dict[str, str] = field(default_factory=dict)

    def without(self, output: str) -> str:
        """The honest body, but for what writes one output."""
        assert self.honest.count(self.lines[output]) == 1
        return self.honest.replace(self.lines[output], "    pass\n")


TURN = """\
    angle = pos[:, None] * inv_freq
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    r = len(inv_freq)
    a, b = x[..., :r], x[..., r:]
"""
CASES = {
    "add_rmsnorm": Case(
        define("add_rmsnorm", "add_rmsnorm_h64", {"D": 64}, act="f32", attrs={"eps": 1e-5}),
        {"T": 12},
        "import numpy as np\n\n\ndef run(x, y, w, sum, normed):\n"
        "    z = x + y\n"
        "    sum[...] = z\n"
        "    normed[...] = z / np.sqrt(np.mean(z * z, -1, keepdims=True) + np.float32(1e-5)) * w\n",
        {"sum": "    sum[...] = z\n",
         "normed": "    normed[...] = z / np.sqrt(np.mean(z * z, -1, keepdims=True)"
                   " + np.float32(1e-5)) * w\n"},
        {"x": "x += y", "y": "y += x"},
    ),
    "rope": Case(
        define("rope", "rope_h3_d16_r8", {"H": 3, "d": 16, "r": 8}, act="f32",
               attrs={"mscale": 1.0}),
        {"T": 12},
        "import numpy as np\n\n\ndef run(x, pos, inv_freq, y):\n" + TURN +
        "    y[...] = np.concatenate((a * cos - b * sin, b * cos + a * sin), -1)\n",
        {"y": "    y[...] = np.concatenate((a * cos - b * sin, b * cos + a * sin), -1)\n"},
        {"x": "x *= 2", "pos": "pos += 1"},
    ),
    "kv_write": Case(
        define("kv_write", "kv_write_ps4_kv2_d8", {"n2": 2, "B": 4, "K": 2, "d": 8}, act="f32"),
        {"P": 5, "T": 6},
        "import numpy as np\n\n\ndef run(kv, k, v, slots, next):\n"
        "    next[...] = kv\n"
        "    next[slots // 4, 0, slots % 4] = k\n"
        "    next[slots // 4, 1, slots % 4] = v\n",
        # An append that leaves to its caller what it does not append.
        {"next": "    next[...] = kv\n"},
        {"kv": "kv[slots // 4, 0, slots % 4] = k"},
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=CASES)
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Case, Entered]]:
    case = CASES[request.param]
    cache: Path = tmp_path_factory.mktemp("cache")
    base = solution("baseline", case.honest, definition=case.definition)
    made = build(base, case.definition, device="cpu:test", cache=cache)
    inputs = dict.fromkeys(case.definition.inputs, RandomInput())
    row = Workload(uuid=case.definition.name, axes=case.axes, inputs=inputs)
    match = Match(case.definition, row, Side(base, made.folder), Cpu(share=True), QUICK)
    try:
        yield case, Entered(match, cache, case.definition)
    finally:
        match.close()


def test_the_honest_one_passes(opened: tuple[Case, Entered]) -> None:
    case, measure = opened
    assert measure(case.honest + "    # once more\n").audits > 0


def test_a_forgotten_output_is_refused_and_named(opened: tuple[Case, Entered]) -> None:
    case, measure = opened
    assert set(case.lines) == set(case.definition.outputs)
    for output in case.lines:
        with pytest.raises(Refused) as told:
            measure(case.without(output))
        assert told.value.status == "INCORRECT_NUMERICAL"
        assert told.value.text.startswith(output)


def test_an_output_written_at_first_only_is_refused(opened: tuple[Case, Entered]) -> None:
    """What an earlier call left in a slot is gone before the next."""
    case, measure = opened
    for output, line in case.lines.items():
        sometimes = f"    calls.append(1)\n    if len(calls) < 8:\n    {line}"
        body = case.honest.replace(line, sometimes).replace(
            "import numpy as np\n", "import numpy as np\n\ncalls = []\n"
        )
        with pytest.raises(Refused) as told:
            measure(body)
        assert told.value.status == "INCORRECT_NUMERICAL"
        assert told.value.text.startswith(output)


def test_an_input_that_is_updated_in_place_is_refused(opened: tuple[Case, Entered]) -> None:
    case, measure = opened
    for name, update in case.over.items():
        raw = f"ctypes.memset({name}.ctypes.data, 7, {name}.nbytes)"
        for line in (update, raw):
            with pytest.raises(Refused) as told:
                measure(f"import ctypes\n{case.honest}    {line}\n")
            assert (told.value.status, told.value.code) == ("RUNTIME_ERROR", "mutate_input")


ROWS, WIDE = Tensor(shape=["B", "H"], dtype="float32"), Tensor(shape=["H"], dtype="float32")
FUSED = Definition(
    name="fused_add_rmsnorm_h64",
    op_type="rmsnorm",
    axes={"B": AxisVar(), "H": AxisConst(value=64)},
    inputs={"x": ROWS, "residual": ROWS, "weight": WIDE},
    outputs={"out": ROWS, "residual": ROWS},
    reference="def run(x, residual, weight):\n    residual += x\n"
    "    return residual / (residual.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * weight\n",
    treadle={"dialect": "fi_trace", "in_place": ["residual"]},
)
NORMED = "residual / np.sqrt(np.mean(residual**2, -1, keepdims=True) + np.float32(1e-6)) * weight"
HEAD = "import ctypes\nimport numpy as np\n\n\n"
FUSED_HONEST = (
    f"{HEAD}def run(x, residual, weight, out):\n    residual += x\n    out[...] = {NORMED}\n"
)


def returning(result: str, update: str = "    residual += x\n") -> str:
    return f"{HEAD}def run(x, residual, weight):\n{update}    out = {NORMED}\n    return {result}\n"


def test_an_operand_that_is_declared_mutable_is_written_and_no_other(tmp_path: Path) -> None:
    assert places_written(FUSED) == [-1, 1]
    honest = [(FUSED_HONEST + "    # once more\n", True)]
    honest += [(returning(r), False) for r in ("out", "(out, residual)", "[out, residual.copy()]")]
    honest.append((returning("out, residual", "    residual = residual + x\n"), False))
    bad = {
        FUSED_HONEST.replace("    residual += x\n", "    residual = residual + x\n"): "residual",
        FUSED_HONEST.replace("    out[...] =", "    lost ="): "out",
        FUSED_HONEST.replace("+= x", "+= x * 1.01"): "",
        FUSED_HONEST + "    residual += x\n": "residual",
    }
    with entered(tmp_path, FUSED, FUSED_HONEST) as measure:
        for body, passing in honest:
            assert measure(body, passing=passing).audits > 0
        for body, output in bad.items():
            with pytest.raises(Refused) as told:
                measure(body)
            assert told.value.status == "INCORRECT_NUMERICAL"
            assert told.value.text.startswith(output)
        for line in ("x += 1", "weight[...] = 1", "ctypes.memset(x.ctypes.data, 7, x.nbytes)"):
            with pytest.raises(Refused) as told:
                measure(f"{FUSED_HONEST}    {line}\n")
            assert told.value.code == "mutate_input"
        for result in ("None", "(out, out, out)"):
            with pytest.raises(Refused):
                measure(returning(result), passing=False)


def test_only_an_operand_of_the_same_kind_can_be_written_over(tmp_path: Path) -> None:
    odd = Definition(
        name="odd_h64", op_type="toy", axes=FUSED.axes, inputs={"x": ROWS, "weight": WIDE},
        outputs={"weight": ROWS}, reference="def run(x, weight):\n    return x * weight\n",
    )  # fmt: skip
    body = "def run(x, weight):\n    weight *= x\n"
    with pytest.raises(InvalidRequest, match="another kind"), entered(tmp_path, odd, body):
        pass
