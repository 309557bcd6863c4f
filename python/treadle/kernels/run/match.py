"""One workload, one baseline, one candidate after the other: trials, rounds, audits, a verdict."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.errors import InvalidRequest, KernelError
from treadle.kernels import stats
from treadle.kernels.check import sampler
from treadle.kernels.run.device import Device
from treadle.kernels.run.feed import Call
from treadle.kernels.run.nursery import Nursery
from treadle.kernels.run.player import Timing
from treadle.kernels.run.refusal import Refused
from treadle.kernels.run.roofline import Roofline, roofline
from treadle.kernels.run.stage import Seat, Settings, Side, Stage
from treadle.kernels.schema import Definition, Workload, preparation

if TYPE_CHECKING:
    from numpy.typing import NDArray


CALM = 0.02
LINGERED = 0.15
IDLE = 0.1
"""Share of a pause that an idle process may spend working."""
DOUBTS = 3
"""Pauses looked at after one in which the process seemed busy."""
LATE_NS = 50_000
"""Processor time between answer and stop that proves nothing."""
SEVERAL = 16
"""Calls of a batch that shows what one more call costs."""
COUNTED = 5
"""Batches in which the processor's counters are read."""
LEAST = 5
"""Rounds that are measured even if time is up."""


@dataclass(slots=True)
class Outcome:
    """A candidate that was right: how fast, how exact, and how it was measured.

    Seconds: alone: what a call that is a batch of its own costs; marginal: what one more call of a
    batch costs, where that was measured; setup: what preparing the weights takes, None where the
    solution does not, and how often it did. counters: of a call; absent: those that are not, and
    why.
    """

    comparison: stats.Comparison
    relative: float = 0.0
    absolute: float = 0.0
    ratio: float = 0.0
    ulps: float = 0.0
    audits: int = 0
    calls: int = 1
    level: int = 0
    noise: float = 0.0
    rung: str = ""
    nondeterministic: bool = False
    left_out: int = 0
    roofline: Roofline = field(default_factory=Roofline)
    alone: float = 0.0
    marginal: float = 0.0
    setup: float | None = None
    setups: int = 0
    counters: dict[str, float] = field(default_factory=dict[str, float])
    absent: dict[str, str] = field(default_factory=dict[str, str])


class Match:
    """A workload with its baseline. `run` measures a candidate; `close` ends it.

    Raises InvalidRequest for a workload that proves nothing or has no inputs, KernelError for a
    baseline that is wrong.
    """

    def __init__(
        self,
        definition: Definition,
        workload: Workload,
        baseline: Side,
        device: Device,
        settings: Settings | None = None,
        *,
        key: bytes | None = None,
        root: Path | None = None,
        nursery: Nursery | None = None,
        held: bool = False,
    ) -> None:
        """held: weights stay for some batches, as solutions need that prepare them."""
        self._key = key or os.urandom(32)
        begun = time.monotonic()
        self._stage = Stage(
            definition, workload, device, settings or Settings(), self._key, root, nursery,
            held=held,
        )  # fmt: skip
        self._stage.spent["stage"] = time.monotonic() - begun
        self._base: Seat | None = None
        try:
            with self._stage.clock("baseline"):
                self._base = self._stage.seat(baseline)
                self._stage.check(self._base, [Call(workload.axes)], "baseline")
        except Refused as wrong:
            self.close()
            raise KernelError(
                f"the baseline is no baseline: {wrong.text}",
                at=f"{baseline.solution.name} on {workload.uuid}",
                hint="choose another baseline",
            ) from None
        except BaseException:
            self.close()
            raise

    def spent(self) -> dict[str, float]:
        """Seconds by what was done since the last time."""
        found = {name: round(seconds, 3) for name, seconds in self._stage.spent.items()}
        self._stage.spent.clear()
        return found

    @property
    def key_id(self) -> str:
        """Names the seeds without telling them."""
        return hashlib.sha256(b"key id" + self._key).hexdigest()[:16]

    def close(self) -> None:
        """Ends the baseline and frees the rings."""
        if self._base is not None:
            self._base.player.close()
            self._base = None
        self._stage.close()

    def run(self, candidate: Side) -> Outcome:
        """Measures one candidate. Raises Refused; the match stays usable. Raises InvalidRequest for
        one that prepares weights in a match that does not hold them."""
        assert self._base is not None
        if preparation(candidate.solution) is not None and not self._stage.held:
            raise InvalidRequest(
                f"{candidate.solution.name} prepares weights", at="match", hint="open it with held"
            )
        seat = self._stage.seat(candidate)
        try:
            return _Run(self._stage, seat, self._base).outcome()
        finally:
            seat.player.close()

    def repeat(self, candidate: Side, count: int) -> Iterator[stats.Comparison]:
        """Several verdicts on one running candidate: how often does noise decide?"""
        assert self._base is not None
        seat = self._stage.seat(candidate)
        try:
            run = _Run(self._stage, seat, self._base)
            run.prepare()
            for _ in range(count):
                yield run.race()[0]
        finally:
            seat.player.close()

    def spread(self, baseline: Side, rounds: int) -> float:
        """The baseline against itself: robust spread of log ratios, the noise floor of this device.

        Raises Refused where the baseline fails.
        """
        assert self._base is not None
        seat = self._stage.seat(baseline)
        try:
            run = _Run(self._stage, seat, self._base)
            run.prepare()
            pairs = np.array(run.measure(rounds))
        finally:
            seat.player.close()
        return _spread(np.log(pairs[:, 0] / pairs[:, 1]))


def _spread(values: NDArray[np.float64]) -> float:
    """Median distance from the median, scaled to the deviation of normal noise."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


class _Run:
    """One candidate's trials and rounds."""

    def __init__(self, stage: Stage, seat: Seat, base: Seat) -> None:
        self._stage, self._seat, self._base = stage, seat, base
        self._settings, self._rng = stage.settings, stage.rng
        self._judged: list[Any] = []
        self._uniform: list[NDArray[np.float64]] = []
        self._nondeterministic = False
        self._calls = 1
        self._alone = self._marginal = 0.0
        self._seen = self._left_out = self._rounds = 0
        self._first_linger = int(self._rng.integers(0, LEAST))
        self._busy: list[bool] = []
        self._late: list[tuple[int, int]] = []

    def outcome(self) -> Outcome:
        """Trials, rounds, a last look. Raises Refused."""
        stage = self._stage
        with stage.clock("trials"):
            self.prepare()
        with stage.clock("rounds"):
            comparison, pairs = self.race()
        while self._busy:  # time was up before a doubt was settled
            self._round()
        if stage.judge.sampler:
            self._drawn()
        self._prompt(comparison.candidate * 1e9 * self._calls)
        limits = roofline(stage.definition, stage.workload.axes, stage.device)
        if comparison.candidate < limits.floor:
            least = f"at least {limits.floor * 1e6:.3g} needed"
            text = f"{comparison.candidate * 1e6:.3g} us a call, {least}"
            raise Refused("RUNTIME_ERROR", text, code="impossible", phase="timed")
        with stage.clock("counters"):
            counters, absent = self._counted()
        self._seat.player.finish()
        worst = [j.worst for j in self._judged]
        base = np.log([b for b, _ in pairs])
        return Outcome(
            comparison=comparison,
            relative=max((w.relative for w in worst), default=0.0),
            absolute=max((w.absolute for w in worst), default=0.0),
            ratio=max((w.ratio for w in worst), default=0.0),
            ulps=max((w.ulps for w in worst), default=0.0),
            audits=len(self._judged),
            calls=self._calls,
            level=self._seat.player.level,
            noise=_spread(base),
            rung=stage.judge.oracle.rung,
            nondeterministic=self._nondeterministic,
            left_out=self._left_out,
            roofline=limits,
            alone=self._alone,
            marginal=self._marginal,
            setup=float(np.median(self._seat.setups)) if self._seat.setups else None,
            setups=len(self._seat.setups),
            counters=counters,
            absent=absent,
        )

    def _prompt(self, batch_ns: float) -> None:
        """Refuses work between answer and stop, beyond what stopping the baseline takes here.

        It counts as part of the call in any case. A clock that was not up to date makes it look
        longer in some rounds, so what a quarter of them stays below decides.
        """
        stopping, late = np.quantile(np.array(self._late), 0.25, axis=0)
        if late > 3 * stopping + max(LATE_NS, 0.2 * batch_ns):
            text = f"{late / 1e3:.0f} us of work between answer and stop"
            raise Refused("RUNTIME_ERROR", text, code="thread_defer", phase="timed")

    def race(self) -> tuple[stats.Comparison, list[stats.Pair]]:
        """Rounds until the verdict is settled or time is up. Raises Refused."""
        deadline = time.monotonic() + self._settings.seconds
        pairs: list[stats.Pair] = []

        def measure(n: int) -> list[stats.Pair]:
            wanted = len(pairs) + n
            while len(pairs) < wanted:
                if time.monotonic() > deadline and len(pairs) >= LEAST:
                    break
                pair = self._round()
                if pair is not None:
                    pairs.append(pair)
            return pairs[wanted - n :]

        seed = int(self._rng.integers(1 << 31))
        return stats.race(measure, seed, looks=self._settings.looks), pairs

    def measure(self, rounds: int) -> list[stats.Pair]:
        """That many rounds that nothing disturbed. Raises Refused."""
        found: list[stats.Pair] = []
        while len(found) < rounds:
            pair = self._round()
            if pair is not None:
                found.append(pair)
        return found

    def prepare(self) -> None:
        """Trials, and how many calls make a batch. Raises Refused."""
        self._trials()
        self._calibrate()

    def _trials(self) -> None:
        stage = self._stage
        for batch in stage.trials:
            self._trial(batch)

    def _trial(self, batch: list[Call]) -> None:
        stage = self._stage
        fresh = [Call(c.axes, c.profile, c.again) for c in batch]
        stage.check(self._seat, fresh, "trial")
        for slot, call in enumerate(fresh):
            if call.again is not None and not stage.judge.sampler:
                first, second = (self._seat.answers.read(s) for s in (call.again, slot))
                self._nondeterministic |= any(
                    not np.array_equal(a.view(np.uint8), b.view(np.uint8))
                    for a, b in zip(first.values(), second.values(), strict=True)
                )

    def _calibrate(self) -> None:
        """Calls a batch, so that the faster side lasts long enough by what one more call costs:
        revealing a batch and answering it take time of their own, on a GPU most of a short one."""
        wanted, top = self._settings.batch_ns, self._stage.feed.calls
        one = self._least(1)
        self._alone = one[1] * 1e-9
        self._calls = 1
        if top == 1 or (min(one) >= wanted and not self._stage.device.ahead):
            return
        several = min(top, SEVERAL)
        more = [(a - b) / (several - 1) for a, b in zip(self._least(several), one, strict=True)]
        self._marginal = max(0.0, more[1] * 1e-9)
        each = max(1.0, min(more))
        self._calls = max(1, min(top, math.ceil(wanted / each)))

    def _least(self, calls: int) -> list[int]:
        """Nanoseconds of the fastest of a few batches, of each side."""
        axes, sides = self._stage.workload.axes, [self._base, self._seat]
        played = [self._stage.play(sides, [Call(axes) for _ in range(calls)]) for _ in range(3)]
        return [min(t.elapsed for t in side) for side in zip(*played, strict=True)]

    def _round(self) -> stats.Pair | None:
        """One batch on both sides in random order, audited; seconds a call, None if disturbed."""
        stage, rng = self._stage, self._rng
        if rng.random() < 0.1:
            trials = stage.trials
            self._trial(trials[int(rng.integers(0, len(trials)))])
        batch = [Call(stage.workload.axes) for _ in range(self._calls)]
        first = bool(rng.integers(0, 2))
        order = [self._base, self._seat] if first else [self._seat, self._base]
        times = stage.play(order, batch)
        base, own = times if first else times[::-1]
        found = stage.audit(self._seat, batch, self._chosen(batch), "timed")
        self._judged += found
        self._uniform += [j.uniform for j in found]
        self._late.append((base.stopping, own.late))
        if rng.random() < LINGERED or self._rounds == self._first_linger or self._busy:
            self._linger(len(batch))
        self._rounds += 1
        if self._disturbed(base, own):
            return None
        unit = 1e-9 / self._calls
        return max(base.elapsed, 1) * unit, max(own.elapsed, 1) * unit

    def _disturbed(self, *timings: Timing) -> bool:
        """Whether others took the processor away; a machine that never is quiet counts as it is.

        A process can only wait longer by its own doing, in any round alike, and at most half of
        the rounds are left out.
        """
        self._seen += 1
        calm = all(t.waited <= CALM * t.elapsed for t in timings)
        if calm or self._left_out * 2 >= self._seen:
            return False
        self._left_out += 1
        return True

    def _chosen(self, batch: list[Call]) -> list[int]:
        """Calls to audit: all where the oracle is cheap, else a random share, twins first."""
        seconds = self._stage.oracle_seconds
        count = len(batch)
        if seconds * count < 0.003:
            return list(range(count))
        wanted = self._settings.audit * count
        if seconds > 0.02:
            wanted = min(wanted, 1.0)
        number = int(wanted) + int(self._rng.random() < wanted % 1)
        twins = [slot for slot, call in enumerate(batch) if call.twin is not None]
        rest = [int(s) for s in self._rng.permutation(count) if s not in twins]
        return [*twins, *rest][:number]

    def _linger(self, count: int) -> None:
        """Work that goes on after the answer shows in outputs or in processor time.

        The time that a machine's host takes away is counted as the process's own, so one busy pause
        proves nothing: the pauses of the next rounds must bear it out.
        """
        before = [self._seat.answers.read(slot) for slot in range(count)]
        seconds = self._settings.linger
        used = self._seat.player.linger(seconds)
        self._seat.answers.memory.pull()
        late = any(
            not np.array_equal(a.view(np.uint8), b.view(np.uint8))
            for slot, old in enumerate(before)
            for a, b in zip(old.values(), self._seat.answers.read(slot).values(), strict=True)
        )
        if late:
            text = "outputs changed after the answer"
            raise Refused("RUNTIME_ERROR", text, code="thread_defer", phase="timed")
        busy = used > IDLE * seconds
        if not busy and not self._busy:
            return
        self._busy.append(busy)
        if len(self._busy) <= DOUBTS:
            return
        if sum(self._busy) >= DOUBTS:
            text = f"{used * 1e3:.1f} ms of work while nothing was asked"
            raise Refused("RUNTIME_ERROR", text, code="thread_defer", phase="timed")
        self._busy.clear()

    def _drawn(self) -> None:
        """Tests a sampler's draws, and once more on new seeds before it is refused."""
        first = self._even()
        if first >= sampler.ALPHA:
            return
        self._uniform = []
        second = self._even()
        if second < 100 * sampler.ALPHA:
            raise Refused(
                "INCORRECT_NUMERICAL", f"draws do not follow the distribution: p = {first:.2g}",
                code="sampler_bias", phase="timed",
            )  # fmt: skip

    def _even(self) -> float:
        stage = self._stage
        for _ in range(200):
            if sum(len(u) for u in self._uniform) >= self._settings.draws:
                break
            batch = [Call(stage.workload.axes) for _ in range(self._calls)]
            stage.play([self._seat], batch)
            found = stage.audit(self._seat, batch, range(len(batch)), "timed")
            self._uniform += [j.uniform for j in found]
        return sampler.even(np.concatenate([np.zeros(0), *self._uniform]))

    def _counted(self) -> tuple[dict[str, float], dict[str, str]]:
        """What the processor counted of a call, and which counters are absent and why. Raises
        Refused."""
        stage = self._stage
        if stage.device.kind != "cpu":
            return {}, {"all": "a processor's counters say nothing of work on a GPU"}
        with self._seat.player.counted() as counters:
            for _ in range(COUNTED):
                batch = [Call(stage.workload.axes) for _ in range(self._calls)]
                stage.play([self._seat], batch)
            each = {name: value / self._calls for name, value in counters.medians().items()}
            return each, counters.absent
