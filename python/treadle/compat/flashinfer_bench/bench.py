"""`flashinfer_bench.bench`: solutions of a trace set measured by treadle's referee.

The configuration has the peer's fields. What decides here is treadle's own: the tolerance follows
from the definition, rounds of baseline and candidate alternate, candidates run behind walls. A
field that asks for another rule of correctness is refused instead of ignored.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from treadle.compat.flashinfer_bench.data import TraceSet
from treadle.compat.flashinfer_bench.env import get_fib_cache_path
from treadle.compat.flashinfer_bench.utils import is_cuda_available
from treadle.errors import InvalidRequest, Unsupported
from treadle.kernels.run import coordinator
from treadle.kernels.run.player import Limits
from treadle.kernels.run.stage import Settings
from treadle.kernels.schema import Trace
from treadle.kernels.stats import LOOKS

__all__ = ["Benchmark", "BenchmarkConfig"]

logger = logging.getLogger(__name__)


@dataclass
class BenchmarkConfig:
    """How a run is done. iterations: rounds, at most. definitions, solutions: which ones, all if
    None. timeout_seconds: of a first call and of a batch. Of no effect, because the referee finds
    out itself: warmup_runs, num_trials, use_isolated_runner (always), profile_baseline (always),
    log_dir, sampling_validation_trials, sampling_tvd_threshold.

    Raises InvalidRequest for a value that is none, Unsupported for tolerances of one's own.
    """

    warmup_runs: int = 10
    iterations: int = 50
    num_trials: int = 3
    rtol: float = 1e-2
    atol: float = 1e-2
    log_dir: str = field(default_factory=lambda: str(get_fib_cache_path() / "logs"))
    use_isolated_runner: bool = False
    required_matched_ratio: float | None = None
    sampling_validation_trials: int = 100
    sampling_tvd_threshold: float = 0.2
    definitions: list[str] | None = None
    solutions: list[str] | None = None
    timeout_seconds: int = 300
    profile_baseline: bool = True

    def __post_init__(self) -> None:
        for name in ("iterations", "num_trials", "timeout_seconds", "sampling_validation_trials"):
            if getattr(self, name) <= 0:
                raise InvalidRequest(f"{name} is {getattr(self, name)}", hint="give 1 or more")
        if self.warmup_runs < 0:
            raise InvalidRequest(f"warmup_runs is {self.warmup_runs}", hint="give 0 or more")
        if (self.rtol, self.atol) != (1e-2, 1e-2) or self.required_matched_ratio is not None:
            raise Unsupported(
                "tolerances of one's own", at="rtol, atol, required_matched_ratio",
                hint="write them into the definition's `tolerance`",
            )  # fmt: skip


class Benchmark:
    """Runs solutions on workloads, and gives the traces back as a trace set."""

    def __init__(self, trace_set: TraceSet, config: BenchmarkConfig | None = None) -> None:
        self._traces, self._config = trace_set, config or BenchmarkConfig()
        self._referee = coordinator.Referee()

    def get_trace_set(self) -> TraceSet:
        """The trace set that was given."""
        return self._traces

    def run_all(self, dump_traces: bool = True, resume: bool = False) -> TraceSet:
        """Measures every solution on every workload of its definition, the definition's reference
        as baseline. dump_traces: adds traces to the trace set, on disk too where it has a root.
        resume: leaves out what has a trace. What has no verdict is logged. Raises Timeout where
        another process holds the device."""
        config, given = self._config, self._traces
        report = coordinator.bench(
            self._tasks(resume),
            "cuda" if is_cuda_available() else "cpu",
            Settings(
                looks=tuple(sorted({min(n, config.iterations) for n in LOOKS})),
                limits=Limits(first=config.timeout_seconds, batch=config.timeout_seconds),
            ),
            cache=get_fib_cache_path(),
            root=given.root,
            referee=self._referee,
        )
        for fault in report.faults:
            logger.warning("%s", fault)
        if dump_traces:
            given.add_traces(report.done)
        found: dict[str, list[Trace]] = {}
        for trace in report.done:
            found.setdefault(trace.definition, []).append(trace)
        return TraceSet(
            given.root, dict(given.definitions), dict(given.solutions), dict(given.workloads), found
        )

    def close(self) -> None:
        """Ends the referee."""
        self._referee.close()

    def _tasks(self, resume: bool) -> list[coordinator.Task]:
        config, given = self._config, self._traces
        names = [n for many in given.solutions.values() for n in (s.name for s in many)]
        for what, wanted, known in (
            ("definition", config.definitions, given.definitions),
            ("solution", config.solutions, names),
        ):
            for name in sorted(set(wanted or ()) - set(known)):
                logger.warning("no %s %s", what, name)
        tasks: list[coordinator.Task] = []
        for name, definition in given.definitions.items():
            if config.definitions is not None and name not in config.definitions:
                continue
            have = {(t.workload.uuid, t.solution) for t in given.traces.get(name, ())}
            tasks += [
                coordinator.Task(
                    definition, row.workload, solution, coordinator.reference(definition)
                )
                for row in given.workloads.get(name, ())
                for solution in given.solutions.get(name, ())
                if config.solutions is None or solution.name in config.solutions
                if not (resume and (row.workload.uuid, solution.name) in have)
            ]
        return tasks
