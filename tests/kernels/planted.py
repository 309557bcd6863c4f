"""Datasets with planted winners, and a builder that runs their Python here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from treadle.kernels.apply import Policy, Table
from treadle.kernels.schema import (
    AxisConst,
    AxisVar,
    Correctness,
    Definition,
    Environment,
    Evaluation,
    Performance,
    RandomInput,
    Solution,
    Source,
    Spec,
    Tensor,
    Trace,
    Workload,
)
from treadle.kernels.store import Dataset

DEVICE = "cpu:planted"
TRUSTING = Policy(shadow=0)


def gemm(n: int = 6, k: int = 4, dtype: str = "float32") -> Definition:
    """C = A · Bᵀ."""
    return Definition(
        name=f"gemm_n{n}_k{k}_{dtype}",
        op_type="gemm",
        axes={"M": AxisVar(), "N": AxisConst(value=n), "K": AxisConst(value=k)},
        inputs={"A": Tensor(shape=["M", "K"], dtype=dtype),
                "B": Tensor(shape=["N", "K"], dtype=dtype)},
        outputs={"C": Tensor(shape=["M", "N"], dtype=dtype)},
        reference="def run(A, B):\n    return A @ B.T\n",
        treadle={"op": "linear", "attrs": {}, "weights": ["B"]},
    )  # fmt: skip


def decode(heads: int = 4, kv: int = 2, d: int = 8, dtype: str = "float32") -> Definition:
    """Paged decode attention with pages of one token, as the public names have it."""
    cache = Tensor(shape=["num_pages", "page_size", "kv", "d"], dtype=dtype)
    return Definition(
        name=f"gqa_paged_decode_h{heads}_kv{kv}_d{d}_ps1",
        op_type="gqa_paged",
        axes={"batch_size": AxisVar(), "h": AxisConst(value=heads), "kv": AxisConst(value=kv),
              "d": AxisConst(value=d), "num_pages": AxisVar(), "page_size": AxisConst(value=1),
              "len_indptr": AxisVar(), "num_kv_indices": AxisVar()},
        inputs={"q": Tensor(shape=["batch_size", "h", "d"], dtype=dtype), "k_cache": cache,
                "v_cache": cache, "kv_indptr": Tensor(shape=["len_indptr"], dtype="int32"),
                "kv_indices": Tensor(shape=["num_kv_indices"], dtype="int32"),
                "sm_scale": Tensor(shape=None, dtype="float32")},
        outputs={"output": Tensor(shape=["batch_size", "h", "d"], dtype=dtype),
                 "lse": Tensor(shape=["batch_size", "h"], dtype="float32")},
        reference="def run(*a):\n    raise NotImplementedError\n",
        constraints=["len_indptr == batch_size + 1", "num_kv_indices == kv_indptr[-1].item()"],
        treadle={"op": "attention", "capacity": ["num_pages", "num_kv_indices"]},
    )  # fmt: skip


def solution(d: Definition, name: str, body: str, *, into: bool = False) -> Solution:
    """A Python solution; `body` is the text of its run function."""
    spec = Spec(language="python", target_hardware=["cpu"], entry_point="m.py::run",
                destination_passing_style=into)  # fmt: skip
    return Solution(name=name, definition=d.name, author="planter", spec=spec,
                    sources=[Source(path="m.py", content=body)])  # fmt: skip


def trace(
    d: Definition,
    name: str,
    axes: dict[str, int],
    ci: Sequence[float] | None = (1.5, 1.6),
    *,
    verdict: str = "FAST",
    isolation: int = 2,
    device: str = DEVICE,
    status: str = "PASSED",
    when: int = 0,
    **more: Any,
) -> Trace:
    """A trace as the referee writes it."""
    ours = {"n": 60, "verdict": verdict, "timer": "outer", "isolation": isolation, **more}
    if ci is not None:
        ours["ci"] = list(ci)
    passed = status == "PASSED"
    return Trace(
        definition=d.name,
        workload=Workload(
            uuid="-".join(f"{k}{v}" for k, v in axes.items()),
            axes=axes,
            inputs={n: RandomInput() for n in d.inputs},
        ),
        solution=name,
        evaluation=Evaluation(
            status=status,
            environment=Environment(hardware=device, libs={"treadle.harness": "1"}),
            timestamp=f"2026-01-01T00:00:{when:02d}Z",
            correctness=Correctness(extra={"treadle": ours}) if passed else None,
            performance=Performance(latency_ms=1.0, speedup_factor=1.55) if passed else None,
        ),
    )


def dataset(root: Path, d: Definition, *solutions: Solution, traces: Iterable[Trace]) -> Dataset:
    """A dataset of one definition."""
    made = Dataset(root)
    made.add(d)
    for one in solutions:
        made.add(one)
    for row in traces:
        made.append(row, "planter", flush=False)
    return made


def build(one: Solution, d: Definition) -> Callable[..., Any]:
    """Runs a planted source in this process: planted sources are this test's own."""
    del d
    space: dict[str, Any] = {}
    exec(one.sources[0].content, space)
    return space["run"]


def table(data: Dataset, policy: Policy = TRUSTING, **more: Any) -> Table:
    """A table whose solutions are built by `build`."""
    return Table.from_store(data, DEVICE, policy, build=more.pop("build", build), **more)
