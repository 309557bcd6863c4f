"""propose → scan → build → check → time → feedback, until a budget is spent; then the final score.

Everything that happened is in the store, so a run that was killed goes on where it stopped: what
was answered is not asked again, what was measured is not measured again.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from treadle.errors import NotFound, Overloaded, Timeout
from treadle.kernels import stats
from treadle.kernels.agent import attempts, budget, prompt, search, state
from treadle.kernels.agent.attempts import Attempt
from treadle.kernels.agent.budget import Budget, Spent
from treadle.kernels.agent.endpoint import Endpoint, estimate
from treadle.kernels.agent.feedback import feedback
from treadle.kernels.agent.final import divided
from treadle.kernels.agent.interface import interface
from treadle.kernels.agent.proposal import SCHEMA
from treadle.kernels.build import BuildFailure, build
from treadle.kernels.run import coordinator
from treadle.kernels.run.referee import open_device
from treadle.kernels.run.stage import Settings
from treadle.kernels.schema import Definition, Solution, Workload
from treadle.kernels.store import Dataset

FINALISTS = 3
FAULTS = 2
"""Attempts in a row that could not be measured, after which the machine is taken to be at fault."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """A run: what to improve against which baseline (a solution, or `reference`), and how. goal: a
    score that is good enough to stop at."""

    run: str
    definition: str
    language: str = "cpp"
    policy: str = "refine"
    width: int = 3
    baseline: str = coordinator.REFERENCE
    device: str = "cpu"
    budget: Budget = field(default_factory=Budget)
    settings: Settings = field(default_factory=Settings)
    share: bool = False
    wait: float = 0.0
    goal: float = math.inf


def run(
    plan: Plan, data: Dataset, endpoint: Endpoint, cache: Path, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Searches and scores; what it found as JSON. Raises NotFound for an unknown definition or
    baseline, InvalidRequest for a plan that does not fit."""
    return _Run(plan, data, endpoint, cache, progress).whole()


class _Run:
    """One process's part of a run."""

    def __init__(
        self, plan: Plan, data: Dataset, endpoint: Endpoint, cache: Path, progress: Progress
    ) -> None:
        self._plan, self._data, self._endpoint = plan, data, endpoint
        self._cache, self._tell = cache, progress
        self._definition: Definition = data.definition(plan.definition)
        self._device = open_device(plan.device, share=plan.share).name
        self._how = interface(plan.language, self._device)
        search.parents(plan.policy, plan.width, ())
        rows = [row.workload for row in data.workloads(plan.definition)]
        self._searched, self._held = divided(self._definition, rows, plan.run)
        self._baseline = self._found_baseline()
        fresh = state.State(
            definition=plan.definition, language=plan.language, policy=plan.policy,
            width=plan.width, baseline=plan.baseline,
        )  # fmt: skip
        self._state = state.opened(data, plan.run, fresh)
        self._before, self._began = self._state.wall, time.monotonic()
        self._faults: list[str] = []
        self._referee = coordinator.Referee(plan.share)

    def whole(self) -> dict[str, Any]:
        """The search, then the final."""
        with self._referee:
            stopped = self._search()
            final = self._final()
        self._keep()
        return self._report(stopped, final)

    def _search(self) -> str:
        for one in self._history():  # what a killed process left unmeasured
            if self._over() not in ("wall", "device"):
                self._measure(one.solution, self._searched)
        failed = 0
        while True:
            reason = self._over()
            if reason is not None:
                return reason
            known = self._history()
            if any((one.score or 0.0) >= self._plan.goal for one in known):
                return "goal"
            number = 1 + (known[-1].number if known else 0)
            above = search.parents(self._plan.policy, self._plan.width, known)
            asked = prompt.messages(
                self._definition, self._how, self._device, self._searched, known, above
            )
            size = estimate(sum(len(m["content"].encode()) for m in asked))
            room = budget.reply_tokens(self._plan.budget, self._spent(known), size)
            if not room:
                return "tokens"
            deadline = self._began + self._plan.budget.wall - self._before
            try:
                reply = self._endpoint.ask(asked, SCHEMA, room, deadline)
            except (Timeout, Overloaded) as error:
                self._keep()
                if self._over() is not None:
                    continue
                return f"endpoint: {error}"
            one = attempts.record(
                self._definition, self._plan.run, number, reply, self._how, self._device, above
            )
            self._data.add(one)
            self._keep()
            good = self._measure(one, self._searched)
            failed = 0 if good else failed + 1
            self._told(number)
            if failed >= FAULTS:
                return f"machine: {self._faults[-1]}"

    def _measure(self, one: Solution, workloads: Sequence[Workload]) -> bool:
        """Appends what traces are missing, the first alone: whoever fails there is out. Whether
        there was a verdict."""
        for group in (workloads[:1], workloads[1:]):
            known = next(a for a in self._history() if a.solution.name == one.name)
            todo = [w for w in group if w.uuid not in known.traces]
            if attempts.settled(known, workloads) or not todo:
                continue
            with contextlib.suppress(BuildFailure):  # compiling is no use of the device
                build(one, self._definition, device=self._device, cache=self._cache)
            left = self._plan.budget.device - self._state.device
            seconds = max(0.1, min(self._plan.settings.seconds, left / len(todo)))
            begun = time.monotonic()
            report = coordinator.bench(
                [coordinator.Task(self._definition, w, one, self._baseline) for w in todo],
                self._plan.device, replace(self._plan.settings, seconds=seconds),
                data=self._data, cache=self._cache, share=self._plan.share, wait=self._plan.wait,
                referee=self._referee,
            )  # fmt: skip
            self._state.device += time.monotonic() - begun
            self._keep()
            self._faults += report.faults
            if report.faults:
                return False
        return True

    def _final(self) -> dict[str, Any] | None:
        """The best on the held-out workloads; one that fails there makes room for the next."""
        for one in search.ranked(self._history())[:FINALISTS]:
            self._tell(f"final: {one.solution.name} on {len(self._held)} held-out workloads")
            if not self._measure(one.solution, [*self._searched, *self._held]):
                continue
            now = next(a for a in self._history() if a.number == one.number)
            if attempts.score(now.traces, self._held or self._searched) is None:
                continue
            return self._scored(now)
        return None

    def _scored(self, one: Attempt) -> dict[str, Any]:
        rows = list(coordinator.verdicts(one.traces[w.uuid] for w in self._held or self._searched))
        counts = [float((w.treadle or {}).get("count", 1)) for w in self._held or self._searched]
        mean, low, high = stats.geometric_mean([r["speedup"] for r in rows], counts)
        kept = ("workload", "axes", "latency_ms", "speedup", "ci", "verdict", "n")
        return {
            "solution": one.solution.name, "speedup": mean, "interval": [low, high],
            "held_out": len(self._held),
            "workloads": [{key: row[key] for key in kept} for row in rows],
        }  # fmt: skip

    def _report(self, stopped: str, final: dict[str, Any] | None) -> dict[str, Any]:
        known = self._history()
        rows = [
            {
                "attempt": one.number, "solution": one.solution.name, "score": one.score,
                "tokens": one.tokens, "plan": one.plan, "scan": one.notes,
                **feedback(one, self._searched),
            }
            for one in known
        ]  # fmt: skip
        return {
            "run": self._plan.run, "author": attempts.author(self._plan.run),
            "definition": self._plan.definition, "device": self._device, "stopped": stopped,
            "attempts": rows, "final": final, "faults": self._faults,
            "spent": msgspec.to_builtins(self._spent(known)),
        }  # fmt: skip

    def _told(self, number: int) -> None:
        one = next(a for a in self._history() if a.number == number)
        found = feedback(one, self._searched)
        what = f"{one.score:.3f}x" if one.score is not None else found["status"]
        code = f" [{found['refused']}]" if "refused" in found else ""
        spent = self._spent(self._history())
        self._tell(f"attempt {number}: {what}{code}, {spent.tokens} tokens, {spent.wall:.0f} s, "
                   f"device {spent.device:.1f} s")  # fmt: skip

    def _history(self) -> list[Attempt]:
        return attempts.history(
            self._data, self._definition, self._plan.run, self._searched, self._device
        )

    def _spent(self, known: Sequence[Attempt]) -> Spent:
        return Spent(len(known), sum(a.tokens for a in known), self._wall(), self._state.device)

    def _over(self) -> str | None:
        return budget.over(self._plan.budget, self._spent(self._history()))

    def _wall(self) -> float:
        return self._before + time.monotonic() - self._began

    def _keep(self) -> None:
        self._state.wall = self._wall()
        state.keep(self._data, self._plan.run, self._state)

    def _found_baseline(self) -> Solution:
        name = self._plan.baseline
        for one in self._data.solutions(self._plan.definition):
            if one.name == name:
                return one
        if name == coordinator.REFERENCE:
            return coordinator.reference(self._definition)
        raise NotFound(f"no solution {name!r}", at=self._plan.definition, hint="name a baseline")
