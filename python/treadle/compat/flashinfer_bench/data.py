"""`flashinfer_bench.data` over treadle's schema: the same names, files and rules.

Objects are msgspec Structs: keyword construction and attributes are as there, pydantic's methods
(`model_dump`, …) are not. Errors are treadle's (`InvalidRequest`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from treadle.compat.flashinfer_bench.env import get_fib_dataset_path
from treadle.errors import InvalidRequest
from treadle.kernels.schema import (
    AxisConst,
    AxisVar,
    Correctness,
    Definition,
    Environment,
    Evaluation,
    Performance,
    RandomInput,
    ScalarInput,
    Solution,
    Trace,
    Workload,
    number,
    pretty,
    read,
    write,
)
from treadle.kernels.schema import BlobInput as SafetensorsInput
from treadle.kernels.schema import Source as SourceFile
from treadle.kernels.schema import Spec as BuildSpec
from treadle.kernels.schema import Tensor as TensorSpec
from treadle.kernels.schema.types import AnyAxis as AxisSpec
from treadle.kernels.schema.types import AnyInput as InputSpec
from treadle.kernels.store import Dataset, append, lines

__all__ = [
    "AxisConst",
    "AxisSpec",
    "AxisVar",
    "BuildSpec",
    "Correctness",
    "Definition",
    "Environment",
    "Evaluation",
    "EvaluationStatus",
    "InputSpec",
    "Performance",
    "RandomInput",
    "SafetensorsInput",
    "ScalarInput",
    "Solution",
    "SourceFile",
    "SupportedBindings",
    "SupportedLanguages",
    "TensorSpec",
    "Trace",
    "TraceSet",
    "Workload",
    "append_jsonl_file",
    "load_json_file",
    "load_jsonl_file",
    "save_json_file",
    "save_jsonl_file",
]

One = TypeVar("One", Definition, Solution, Trace)


class EvaluationStatus(StrEnum):
    """Outcomes of a run."""

    PASSED = "PASSED"
    INCORRECT_SHAPE = "INCORRECT_SHAPE"
    INCORRECT_NUMERICAL = "INCORRECT_NUMERICAL"
    INCORRECT_DTYPE = "INCORRECT_DTYPE"
    RUNTIME_ERROR = "RUNTIME_ERROR"
    COMPILE_ERROR = "COMPILE_ERROR"
    TIMEOUT = "TIMEOUT"


class SupportedLanguages(StrEnum):
    """Languages of version 1."""

    PYTHON = "python"
    TRITON = "triton"
    CPP = "cpp"
    CUDA = "cuda"
    TILELANG = "tilelang"


class SupportedBindings(StrEnum):
    """Bindings of version 1."""

    TVM_FFI = "tvm-ffi"
    TORCH = "torch"


def load_json_file(model_cls: type[One], path: str | Path) -> One:
    """One object from a file. Raises InvalidRequest for what is none."""
    return read(model_cls, Path(path).read_bytes(), str(path))


def save_json_file(object: Definition | Solution | Trace, path: str | Path) -> None:
    """One object into a file, whose folder is made."""
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(pretty(write(object)))


def load_jsonl_file(model_cls: type[One], path: str | Path) -> list[One]:
    """One object a line. Raises InvalidRequest naming the byte of a bad line."""
    place = Path(path)
    return [read(model_cls, data, f"{path} byte {offset}") for offset, data in lines(place)]


def save_jsonl_file(objects: Sequence[Definition | Solution | Trace], path: str | Path) -> None:
    """One object a line; what the file held is gone."""
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"".join(write(one) + b"\n" for one in objects))


def append_jsonl_file(objects: Iterable[Definition | Solution | Trace], path: str | Path) -> None:
    """One object a line, after what is there; a torn last line is cut off."""
    for one in objects:
        append(Path(path), write(one))


class TraceSet:
    """A dataset root held in memory: definitions by name, the rest by definition."""

    def __init__(
        self,
        root: Path | None = None,
        definitions: dict[str, Definition] | None = None,
        solutions: dict[str, list[Solution]] | None = None,
        workloads: dict[str, list[Trace]] | None = None,
        traces: dict[str, list[Trace]] | None = None,
    ) -> None:
        self.root = root
        self.definitions = definitions or {}
        self.solutions = solutions or {}
        self.workloads = workloads or {}
        self.traces = traces or {}

    @classmethod
    def from_path(cls, path: str | None = None) -> TraceSet:
        """Reads a root, which is made if it is not there. None: FIB_DATASET_PATH."""
        root = Path(path) if path else get_fib_dataset_path()
        data = Dataset(root)
        found = cls(root, dict(data.definitions()))
        seen: set[str] = set()
        for one in data.solutions():
            if one.name in seen:
                raise InvalidRequest(f"solution {one.name!r} comes twice", at=str(root))
            seen.add(one.name)
            found.solutions.setdefault(one.definition, []).append(one)
        for name in data.index.counts():
            for group, rows in (
                (found.workloads, data.workloads(name)),
                (found.traces, data.traces(name)),
            ):
                listed = list(rows)
                if listed:
                    group[name] = listed
        return found

    def dataset(self) -> Dataset:
        """The root as treadle's store. Raises InvalidRequest without one."""
        if self.root is None:
            raise InvalidRequest("this trace set has no root", hint="use TraceSet.from_path")
        return Dataset(self.root)

    def get_solution(self, name: str) -> Solution | None:
        """A solution by name."""
        return next((s for many in self.solutions.values() for s in many if s.name == name), None)

    def filter_traces(self, def_name: str, atol: float = 1e-2, rtol: float = 1e-2) -> list[Trace]:
        """Traces that passed with errors of at most these."""
        return [t for t in self.traces.get(def_name, []) if _passed(t, atol, rtol)]

    def get_best_trace(
        self,
        def_name: str,
        axes: dict[str, int] | None = None,
        max_abs_error: float = 1e-2,
        max_rel_error: float = 1e-2,
    ) -> Trace | None:
        """The passing trace with the largest speed-up, at these axes where they are given."""
        wanted = axes or {}
        found = [
            t
            for t in self.filter_traces(def_name, max_abs_error, max_rel_error)
            if all(t.workload.axes.get(axis) == size for axis, size in wanted.items())
        ]
        return max(found, key=_speedup, default=None)

    def summary(self) -> dict[str, Any]:
        """Counts, and latencies of what passed."""
        runs = [t.evaluation for many in self.traces.values() for t in many]
        times = [e.performance.latency_ms for e in runs if e is not None and e.performance]
        passed = sum(e is not None and e.status == EvaluationStatus.PASSED for e in runs)
        return {
            "total": len(runs),
            "passed": passed,
            "failed": len(runs) - passed,
            "min_latency_ms": min(times, default=None),
            "max_latency_ms": max(times, default=None),
            "avg_latency_ms": sum(times) / len(times) if times else None,
        }

    def add_traces(self, traces: Sequence[Trace]) -> None:
        """Adds runs here and, where there is a root, on disk."""
        data = self.dataset() if self.root is not None else None
        for one in traces:
            if one.solution is None:
                raise InvalidRequest("this is a workload row", hint="use add_workload_traces")
            if data is not None:
                solution = self.get_solution(one.solution)
                data.append(one, solution.author if solution is not None else None)
            self.traces.setdefault(one.definition, []).append(one)

    def add_workload_traces(self, traces: Sequence[Trace]) -> None:
        """Adds workload rows here and, where there is a root, on disk."""
        data = self.dataset() if self.root is not None else None
        for one in traces:
            if one.solution is not None:
                raise InvalidRequest("this is a run", hint="use add_traces")
            if data is not None:
                data.append(one)
            self.workloads.setdefault(one.definition, []).append(one)


def _passed(trace: Trace, atol: float, rtol: float) -> bool:
    run = trace.evaluation
    if run is None or run.status != EvaluationStatus.PASSED or run.correctness is None:
        return False
    errors = run.correctness
    return number(errors.max_absolute_error) <= atol and number(errors.max_relative_error) <= rtol


def _speedup(trace: Trace) -> float:
    run = trace.evaluation
    return run.performance.speedup_factor if run is not None and run.performance else 0.0
