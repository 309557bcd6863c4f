"""Tricks that no solution of the corpus can show: of workloads, of clocks, of names and labels.

`path_escape` and `flag_inject` stand with the builds, in tests/kernels/test_build_solutions.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from arena import HONEST, LINEAR, QUICK, Entered, solution, workload

from treadle.errors import InvalidRequest
from treadle.kernels import stats
from treadle.kernels.build import build
from treadle.kernels.run.cpu import Cpu
from treadle.kernels.run.match import Match
from treadle.kernels.run.refusal import Refused
from treadle.kernels.run.scan import scan
from treadle.kernels.run.stage import Side
from treadle.kernels.schema import Definition, ScalarInput, Solution, Source, Spec, Tensor, Workload

pytestmark = pytest.mark.alone


def side(cache: Path, one: Solution, definition: Definition = LINEAR) -> Side:
    return Side(one, build(one, definition, device="cpu:test", cache=cache).folder)


def test_insensitive_a_workload_that_proves_nothing_is_none(tmp_path: Path) -> None:
    scaled = Definition(
        name="scaled_n24_k32",
        op_type="gemm",
        axes=LINEAR.axes,
        inputs={**LINEAR.inputs, "scale": Tensor(shape=None, dtype="float32")},
        outputs=LINEAR.outputs,
        reference="def run(A, B, scale):\n    return A @ B.T * scale\n",
    )
    body = "import numpy as np\ndef run(A, B, scale, C):\n    C[...] = A @ B.T * scale\n"
    base = side(tmp_path, solution("baseline", body, definition=scaled), scaled)

    def opened(scale: float) -> Match:
        plain = workload(LINEAR)
        given = {**plain.inputs, "scale": ScalarInput(value=scale)}
        one = Workload(uuid=f"by {scale}", axes=plain.axes, inputs=given)
        return Match(scaled, one, base, Cpu(share=True), QUICK)

    opened(2.0).close()
    with pytest.raises(InvalidRequest, match="prove nothing"):
        opened(0.0)


def test_impossible_faster_than_the_machine_allows(tmp_path: Path) -> None:
    class Slow(Cpu):
        """A machine that needs a second for anything."""

        def floor(self, moved: int, flops: float) -> float:
            return 1.0

    match = Match(
        LINEAR, workload(), side(tmp_path, solution("baseline", HONEST)), Slow(share=True), QUICK
    )
    try:
        with pytest.raises(Refused, match="at least 1e") as caught:
            Entered(match, tmp_path, LINEAR)(HONEST)
        assert caught.value.code == "impossible"
    finally:
        match.close()


def test_underflow_times_of_nothing_decide_nothing() -> None:
    rng = np.random.default_rng(0)
    pairs = [(1e-6 * f, 1e-6 * g) for f, g in rng.normal(1, 0.003, (120, 2))]
    forged = [(b, 1e-9 if i % 4 == 0 else c) for i, (b, c) in enumerate(pairs)]
    for rounds in (pairs, forged):  # a mean would call the second one hundreds of times faster
        assert stats.compare(rounds).verdict is stats.Verdict.SAME
    with pytest.raises(InvalidRequest, match="positive times"):
        stats.compare([*pairs, (1e-6, 0.0)])


@pytest.mark.parametrize(
    ("language", "name", "text", "seen"),
    [
        ("cuda", "m.cu", "void run() { cublasGemmEx(h); }", ["delegate"]),
        ("cuda", "m.cu", "// as cublasGemmEx does\n/* at::mm */ void run() {}", []),
        ("cpp", "m.cc", "#include <thread>\nstd::thread t; void* p = dlopen(n, 1);",
         ["imports", "threads"]),
        ("triton", "m.py", "import torch\ndef run(a, b):\n    return torch.matmul(a, b)\n",
         ["delegate"]),
        ("triton", "m.py", "def run(a, b):\n    return a @ b\n", ["delegate"]),
        ("triton", "m.py", "import triton\n@triton.jit\ndef k(a, b):\n    return a @ b\n", []),
        ("python", "m.py", "import ctypes, gc\ndef run(a, b):\n    return a @ b\n",
         ["ctypes", "gc"]),
        ("python", "m.py", "def run(", ["unread"]),
        ("python", "m.py", "x = " + "(" * 5000 + ")" * 5000, ["unread"]),
    ],
)  # fmt: skip
def test_delegate_is_a_label(language: str, name: str, text: str, seen: list[str]) -> None:
    spec = Spec(language=language, target_hardware=["cpu"], entry_point=f"{name}::run")
    one = Solution(name="s", definition="d", author="a", spec=spec,
                   sources=[Source(path=name, content=text)])  # fmt: skip
    assert scan(one) == seen
