"""The small match that cheats and honest solutions enter: a linear of 24 by 32, numpy arrays."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from treadle.kernels.build import build
from treadle.kernels.run.cpu import Cpu
from treadle.kernels.run.match import Match, Outcome
from treadle.kernels.run.player import Limits
from treadle.kernels.run.stage import Settings, Side
from treadle.kernels.schema import (
    AxisConst,
    AxisVar,
    Definition,
    RandomInput,
    Solution,
    Source,
    Spec,
    Tensor,
    Workload,
)


def linear(n: int, k: int, dtype: str) -> Definition:
    """C = A Bᵀ."""
    return Definition(
        name=f"linear_n{n}_k{k}",
        op_type="gemm",
        axes={"M": AxisVar(), "N": AxisConst(value=n), "K": AxisConst(value=k)},
        inputs={
            "A": Tensor(shape=["M", "K"], dtype=dtype),
            "B": Tensor(shape=["N", "K"], dtype=dtype),
        },
        outputs={"C": Tensor(shape=["M", "N"], dtype=dtype)},
        reference="def run(A, B):\n    return A @ B.T\n",
        treadle={"op": "linear", "attrs": {}, "weights": ["B"], "flops": "2 * T * O * I"},
    )


LINEAR = linear(24, 32, "float32")
PROBS = Definition(
    name="sample_v64",
    op_type="sampling",
    axes={"batch_size": AxisVar(), "vocab_size": AxisConst(value=64)},
    inputs={
        "probs": Tensor(shape=["batch_size", "vocab_size"], dtype="float32"),
        "top_k": Tensor(shape=["batch_size"], dtype="int32"),
    },
    outputs={"samples": Tensor(shape=["batch_size"], dtype="int64")},
    reference="def run(probs, top_k):\n    raise NotImplementedError\n",
    treadle={"op": "sample", "sampler": True},
)
HONEST = "import numpy as np\n\n\ndef run(A, B, C):\n    np.matmul(A, B.T, out=C)\n"
DRAW = """\
import numpy as np

rng = np.random.default_rng()


def run(probs, top_k):
    out = np.empty(len(probs), np.int64)
    for b, row in enumerate(probs):
        p = row.astype(np.float64)
        p[np.argsort(-p, kind="stable")[top_k[b]:]] = 0
        out[b] = rng.choice(len(p), p=p / p.sum())
    return out
"""
QUICK = Settings(looks=(6,), seconds=0.5, draws=3000, limits=Limits(processor=5))


def solution(
    name: str, body: str, *, definition: Definition = LINEAR, passing: bool = True
) -> Solution:
    """A Python solution over numpy arrays."""
    return Solution(
        name=name,
        definition=definition.name,
        author="corpus",
        spec=Spec(
            language="python",
            target_hardware=["cpu"],
            entry_point="main.py::run",
            destination_passing_style=passing,
            treadle={"array": "numpy"},
        ),
        sources=[Source(path="main.py", content=textwrap.dedent(body))],
    )


def workload(definition: Definition = LINEAR, rows: int = 20) -> Workload:
    """Random inputs of some rows."""
    axis = next(n for n, a in definition.axes.items() if isinstance(a, AxisVar))
    inputs = {n: RandomInput() for n in definition.inputs}
    return Workload(uuid=f"{definition.name}-{rows}", axes={axis: rows}, inputs=inputs)


class Entered:
    """A match that stays open for many candidates."""

    def __init__(self, match: Match, cache: Path, definition: Definition) -> None:
        self._match, self._cache, self._definition = match, cache, definition

    def __call__(self, body: str, *, passing: bool = True) -> Outcome:
        """Measures one solution. Raises Refused."""
        return self.measure(
            solution("candidate", body, definition=self._definition, passing=passing)
        )

    def measure(self, one: Solution) -> Outcome:
        """The same for a whole solution."""
        made = build(one, self._definition, device="cpu:test", cache=self._cache)
        return self._match.run(Side(one, made.folder))


@contextmanager
def entered(
    cache: Path, definition: Definition = LINEAR, baseline: str = HONEST, *, passing: bool = True,
    settings: Settings = QUICK, held: bool = False,
) -> Iterator[Entered]:  # fmt: skip
    """Opens a match against a baseline; cores stay unpinned, tests share them."""
    base = solution("baseline", baseline, definition=definition, passing=passing)
    made = build(base, definition, device="cpu:test", cache=cache)
    match = Match(
        definition, workload(definition), Side(base, made.folder), Cpu(share=True), settings,
        held=held,
    )  # fmt: skip
    try:
        yield Entered(match, cache, definition)
    finally:
        match.close()
