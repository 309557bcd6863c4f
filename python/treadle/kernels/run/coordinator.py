"""Plans measurements, holds the device's lease, builds, asks the referee, appends every trace.

Opens no source: builders and harnesses do. A trace is on disk before the next job begins, so that a
run that was killed goes on where it stopped: what has its resume key already is left out.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec

from treadle.errors import KernelError, NotFound, TreadleError
from treadle.kernels.build import BuildFailure, build
from treadle.kernels.run import traces
from treadle.kernels.run.lease import lease
from treadle.kernels.run.player import libraries
from treadle.kernels.run.referee import Job, Reply, open_device
from treadle.kernels.run.stage import Settings
from treadle.kernels.schema import Definition, Solution, Source, Spec, Trace, Workload
from treadle.kernels.store import Dataset

RETRIES = 1
REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class Task:
    """One measurement to do."""

    definition: Definition
    workload: Workload
    candidate: Solution
    baseline: Solution


@dataclass(slots=True)
class Report:
    """What a run did. faults: jobs without a verdict, each with its reason; unbegun: those that
    time did not allow."""

    done: list[Trace] = field(default_factory=list[Trace])
    left_out: int = 0
    unbegun: int = 0
    faults: list[str] = field(default_factory=list[str])


Progress = Callable[[int, int, str], None]
"""Done, all, name of the job that comes."""


def plan(
    data: Dataset,
    definitions: Sequence[str],
    solutions: Sequence[str] = (),
    baseline: str = REFERENCE,
    workloads: Sequence[str] = (),
    device: str | None = None,
) -> list[Task]:
    """Every chosen solution on every workload.

    baseline: a solution, where `{definition}` stands for the definition's name. device: leaves out
    solutions made for another kind, but those that are named. Raises NotFound for a name that
    nothing has.
    """
    found: list[Task] = []
    seen: set[str] = set()
    for name in definitions or sorted(data.definitions()):
        definition = data.definition(name)
        ours = list(data.solutions(name))
        seen.update(s.name for s in ours)
        wanted = baseline.replace("{definition}", name)
        base = next((s for s in ours if s.name == wanted), None)
        if base is None and baseline == REFERENCE:
            base = reference(definition)
        if solutions:
            candidates = [s for s in ours if s.name in solutions]
        else:
            candidates = [s for s in ours if s.name != wanted and _made_for(s, device)]
        for row in data.workloads(name):
            if workloads and row.workload.uuid not in workloads:
                continue
            for candidate in candidates:
                if base is None:
                    raise NotFound(f"no solution {wanted!r}", at=name, hint="name a baseline")
                found.append(Task(definition, row.workload, candidate, base))
    missing = sorted(set(solutions) - seen)
    if missing:
        raise NotFound(f"no solution {missing[0]!r}", hint="see treadle kernels stat")
    return found


def _made_for(solution: Solution, device: str | None) -> bool:
    """Whether a solution names hardware of the device's kind: the CPU, or anything else."""
    if device is None:
        return True
    names = {name.lower() for name in solution.spec.target_hardware}
    return "cpu" in names if device.partition(":")[0] == "cpu" else names != {"cpu"}


def reference(definition: Definition) -> Solution:
    """The definition's own text as a solution."""
    return Solution(
        name=REFERENCE,
        definition=definition.name,
        author="treadle",
        spec=Spec(
            language="python",
            target_hardware=["cpu"],
            entry_point="main.py::run",
            destination_passing_style=False,
        ),
        sources=[Source(path="main.py", content=definition.reference)],
    )


def begun(tasks: Iterable[Task], device: str, data: Dataset | None) -> tuple[list[Task], Report]:
    """What `data` has no trace of yet, each once, and a report that counts the others."""
    chosen, report = list(tasks), Report()
    have: set[Any] = set()
    if data is not None:
        for name in {t.definition.name for t in chosen}:
            have |= {traces.resume_key(t) for t in data.traces(name)}
    todo: list[Task] = []
    for task in chosen:
        key = traces.key_of(task.definition, task.workload, task.candidate, device)
        if key in have:
            report.left_out += 1
            continue
        have.add(key)
        todo.append(task)
    return todo, report


def bench(
    tasks: Iterable[Task],
    device: str = "cpu",
    settings: Settings | None = None,
    *,
    data: Dataset | None = None,
    cache: Path,
    root: Path | None = None,
    again: bool = False,
    share: bool = False,
    progress: Progress | None = None,
    seen: Callable[[Trace], None] | None = None,
    until: float = math.inf,
    wait: float = 0.0,
    referee: Referee | None = None,
) -> Report:
    """Measures tasks on one device; appends to `data` where given.

    root: folder of inputs kept as files, that of `data` if None.
    again: also what has been measured. share: leave processes unpinned. seen: is told each trace.
    until: of the monotonic clock, when no more measurements begin. wait: seconds for the lease.
    referee: one that goes on living, with `share` of its own. Raises Timeout where another process
    holds the device.
    """
    root = data.root if root is None and data is not None else root
    opened = open_device(device, share=share)
    todo, report = begun(tasks, opened.name, None if again else data)
    own = Referee(share) if referee is None else contextlib.nullcontext(referee)
    with lease(opened.name, wait), own as referee:
        for number, task in enumerate(todo):
            if time.monotonic() > until:
                report.unbegun = len(todo) - number
                break
            if progress is not None:
                progress(number, len(todo), f"{task.candidate.name} on {task.workload.uuid[:8]}")
            try:
                made = _measure(
                    task, number, opened.name, settings or Settings(), cache, referee, root
                )
            except TreadleError as wrong:
                report.faults.append(f"{task.candidate.name} on {task.workload.uuid}: {wrong}")
                continue
            report.done.append(made)
            if data is not None:
                data.append(made, task.candidate.author)
            if seen is not None:
                seen(made)
        if progress is not None:
            progress(len(todo), len(todo), "")
    return report


def _measure(
    task: Task,
    number: int,
    device: str,
    settings: Settings,
    cache: Path,
    referee: Referee,
    root: Path | None,
) -> Trace:
    base = build(task.baseline, task.definition, device=device, cache=cache)
    try:
        own = build(task.candidate, task.definition, device=device, cache=cache)
    except BuildFailure as failure:
        if failure.stage == "toolchain":  # the machine's fault, not the solution's
            raise
        return traces.trace(task.definition, task.workload, task.candidate, failure, device, {})
    job = Job(
        number=number,
        definition=task.definition,
        workload=task.workload,
        baseline=task.baseline,
        candidate=task.candidate,
        artefacts=(str(base.folder.resolve()), str(own.folder.resolve())),
        settings=settings,
        device=device,
        share=referee.share,
        root=str(root.resolve()) if root is not None else None,
        kernels=own.kernels,
    )
    for attempt in range(RETRIES + 1):
        reply = referee.ask(job)
        if reply is None:
            if attempt < RETRIES:
                continue
            raise KernelError(
                "the referee died", at=task.candidate.name, hint="see treadle kernels doctor"
            )
        if reply.trace is None:
            raise KernelError(reply.fault, hint="correct the workload or the baseline")
        return reply.trace
    raise AssertionError("unreachable")


class Referee:
    """The referee's process, started when first asked and again after it died."""

    def __init__(self, share: bool = False) -> None:
        self.share = share
        self._process: subprocess.Popen[bytes] | None = None
        self._decoder = msgspec.json.Decoder(Reply)

    def __enter__(self) -> Referee:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, job: Job) -> Reply | None:
        """The answer to a job; None if the process died of it."""
        process = self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(job) + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            self.close()
            return None
        return self._decoder.decode(line)

    def close(self) -> None:
        """Ends the process; its harnesses die with it."""
        process = self._process
        self._process = None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            _close(pipe)
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            path = os.pathsep.join(str(p) for p in libraries())
            self._process = subprocess.Popen(
                [sys.executable, "-m", "treadle.kernels.run.referee"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
            )
        return self._process


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        with contextlib.suppress(OSError):
            pipe.close()


def bar(stream: IO[str], width: int = 24) -> Progress:
    """A progress bar with time left, for a terminal; one line a job elsewhere."""
    start = time.monotonic()

    def show(done: int, total: int, name: str) -> None:
        spent = time.monotonic() - start
        left = f"{spent / done * (total - done):.0f} s left" if done else "estimating"
        full = width * done // max(total, 1)
        text = f"[{'#' * full}{'.' * (width - full)}] {done}/{total} {left} {name}"
        if stream.isatty():
            stream.write(f"\r\x1b[K{text[:100]}" + ("\n" if done == total else ""))
        else:
            stream.write(f"{done}/{total} {left} {name}\n")
        stream.flush()

    return show


def verdicts(done: Iterable[Trace]) -> Iterator[dict[str, Any]]:
    """What a person asks of each trace: who, where, status, speed, verdict."""
    for trace in done:
        run = trace.evaluation
        assert run is not None
        row: dict[str, Any] = {
            "definition": trace.definition, "solution": trace.solution,
            "workload": trace.workload.uuid, "axes": trace.workload.axes, "status": run.status,
            "refused": run.environment.libs.get("treadle.refused", ""),
        }  # fmt: skip
        extra: dict[str, Any] = {}
        if run.correctness is not None:
            extra = (run.correctness.extra or {}).get("treadle", extra)
        if run.performance is not None:
            row |= {
                "latency_ms": run.performance.latency_ms,
                "speedup": run.performance.speedup_factor,
                "ci": extra.get("ci"), "verdict": extra.get("verdict"), "n": extra.get("n"),
            }  # fmt: skip
            if "setup_ms" in extra:
                row["setup_ms"] = extra["setup_ms"]
        else:
            row["reason"] = extra.get("reason") or run.log[:300]
        yield row
