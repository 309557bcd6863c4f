"""The referee's process: jobs come in as lines of JSON, traces go out; it owns seeds and clock.

    python -m treadle.kernels.run.referee

Coordinator and referee trust each other; solutions run in processes below this one. It ends when
its input does.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from treadle.errors import TreadleError
from treadle.kernels.build.ptxas import KernelUse
from treadle.kernels.run import player, traces
from treadle.kernels.run.device import Device
from treadle.kernels.run.match import Match, Outcome
from treadle.kernels.run.nursery import Nursery
from treadle.kernels.run.refusal import Refused
from treadle.kernels.run.stage import Settings, Side
from treadle.kernels.schema import Definition, Solution, Trace, Workload, preparation


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement. artefacts: folders of baseline and candidate. kernels: what the
    builder knows of the candidate's."""

    number: int
    definition: Definition
    workload: Workload
    baseline: Solution
    candidate: Solution
    artefacts: tuple[str, str]
    settings: Settings
    device: str
    share: bool = False
    root: str | None = None
    kernels: list[KernelUse] = []


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A trace, or why there is none: a `fault` of workload or baseline, not of the solution."""

    number: int
    trace: Trace | None = None
    fault: str = ""


def main() -> None:
    """Answers jobs until the input ends."""
    answers = os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)  # nothing else may write into the answers
    decoder, encoder = msgspec.json.Decoder(Job), msgspec.json.Encoder()
    table = _Table()
    try:
        for line in sys.stdin.buffer:
            answers.write(encoder.encode(table.answer(decoder.decode(line))) + b"\n")
    finally:
        table.close()
        table.end()


class _Table:
    """The match that is open; the next job usually needs the same."""

    def __init__(self) -> None:
        self._match: Match | None = None
        self._key: Any = None
        self._devices: dict[str, Device] = {}
        self._floor: float | None = None  # of a device with itself, once a process
        self._nursery: tuple[int, Nursery] | None = None

    def answer(self, job: Job) -> Reply:
        """Runs one job."""
        try:
            match = self._open(job)
        except TreadleError as wrong:
            self.close()
            return Reply(number=job.number, fault=str(wrong))
        device = self._device(job)
        facts = {**device.facts(), "timer": device.timer}
        extra: dict[str, Any] = {"baseline": job.baseline.name, "key": match.key_id}
        if self._floor is not None:
            extra["noise_floor"] = self._floor
        try:
            found: Outcome | Refused = match.run(Side(job.candidate, Path(job.artefacts[1])))
        except Refused as wrong:
            found = wrong
        extra["spent"] = match.spent()
        if job.kernels:
            extra["kernels"] = msgspec.to_builtins(job.kernels)
        if isinstance(found, Refused):
            self.close()  # what it may have left behind meets no other candidate
        made = traces.trace(
            job.definition, job.workload, job.candidate, found, device.name, facts, extra
        )
        return Reply(number=job.number, trace=made)

    def close(self) -> None:
        """Ends the open match."""
        if self._match is not None:
            with contextlib.suppress(TreadleError):
                self._match.close()
            self._match = None

    def _open(self, job: Job) -> Match:
        held = any(preparation(s) is not None for s in (job.baseline, job.candidate))
        key = (job.definition.name, job.workload.uuid, job.artefacts[0], job.settings, held)
        if self._match is None or key != self._key:
            self.close()
            root = Path(job.root) if job.root else None
            side = Side(job.baseline, Path(job.artefacts[0]))
            self._match = Match(
                job.definition, job.workload, side, self._device(job), job.settings, root=root,
                nursery=self._born(job.settings.threads), held=held,
            )  # fmt: skip
            self._key = key
            if self._floor is None and job.settings.noise_rounds:
                with contextlib.suppress(Refused):
                    self._floor = self._match.spread(side, job.settings.noise_rounds)
        return self._match

    def _born(self, threads: int) -> Nursery:
        """One nursery for all matches."""
        if self._nursery is None or self._nursery[0] != threads:
            self.end()
            self._nursery = (threads, player.nursery(threads))
        return self._nursery[1]

    def end(self) -> None:
        """Ends the nursery."""
        if self._nursery is not None:
            self._nursery[1].close()
            self._nursery = None

    def _device(self, job: Job) -> Device:
        if job.device not in self._devices:
            self._devices[job.device] = open_device(job.device, share=job.share)
        return self._devices[job.device]


def open_device(name: str, *, share: bool = False) -> Device:
    """A device by `kind` or `kind:model`. Raises Unsupported."""
    from treadle.errors import Unsupported

    kind = name.partition(":")[0]
    if kind == "cpu":
        from treadle.kernels.run.cpu import Cpu

        return Cpu(share=share)
    if kind == "cuda":
        from treadle.kernels.run.cuda import Cuda

        return Cuda()
    raise Unsupported(
        f"device {name!r} is not measured here", at="--device", hint="use cpu or cuda"
    )


if __name__ == "__main__":
    main()
