"""Rings, processes and oracle of one workload: batches are played here, and answers judged.

Trials and timed rounds use the same rings, processes and messages, so that no phase can be told
from another. Sides answer the same contents in turn; whoever does not play is stopped.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from treadle.errors import InvalidRequest
from treadle.kernels import stats
from treadle.kernels.check import Judge, dtypes, inputs, sizes
from treadle.kernels.check.inputs import Profile
from treadle.kernels.run import player, ring
from treadle.kernels.run.device import Device, Ring
from treadle.kernels.run.feed import RENEW, Answers, Call, Feed, output_bytes
from treadle.kernels.run.harness import Config
from treadle.kernels.run.layout import What
from treadle.kernels.run.nursery import Nursery
from treadle.kernels.run.player import Limits, Player, Timing, readable
from treadle.kernels.run.refusal import Refused
from treadle.kernels.schema import (
    Definition,
    Solution,
    Tensor,
    Workload,
    places_written,
    preparation,
    returned,
    weights,
)

MAX_TRIED = 1 << 24


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how closely. looks: rounds at which the verdict is asked for; audit: share of
    calls compared with the oracle where it is dear; batch_ns: least time of a batch."""

    looks: tuple[int, ...] = stats.LOOKS
    seconds: float = 10.0
    batch_ns: int = 200_000
    spin_ns: int = 200_000
    calls: int = 64
    audit: float = 0.25
    linger: float = 0.004
    edges: bool = True
    level: int = 4
    threads: int = 1
    draws: int = 4000
    noise_rounds: int = 10
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Side:
    """A solution and where its artefact lies."""

    solution: Solution
    artefact: Path


@dataclass(slots=True)
class Seat:
    """A running process, its output slots and what was found of it."""

    player: Player
    answers: Answers
    prepares: bool = False
    age: int = 0  # of the weights that it has prepared
    setups: list[float] = field(default_factory=list[float])  # seconds, of one set of weights


class Stage:
    """What one workload needs, whoever plays. Raises InvalidRequest for one that proves nothing."""

    def __init__(
        self,
        definition: Definition,
        workload: Workload,
        device: Device,
        settings: Settings,
        key: bytes,
        root: Path | None = None,
        nursery: Nursery | None = None,
        *,
        held: bool = False,
    ) -> None:
        """nursery: one that lives on; a match of its own has its own. held: weights stay for some
        batches, for solutions that prepare them."""
        self.definition, self.workload = definition, workload
        self.device, self.settings = device, settings
        self.rng = np.random.default_rng(list(hmac.digest(key, b"referee", hashlib.sha256)))
        self.spent: dict[str, float] = {}
        self.judge = Judge(definition, device.oracle)
        self._lasting, self._nursery = nursery, nursery or player.nursery(settings.threads)
        mine, self._theirs = device.cores()
        if mine:
            os.sched_setaffinity(0, mine)
        names = list(definition.inputs)
        self.held = frozenset(names[i] for i in weights(definition)) if held else frozenset[str]()
        self.trials = [batch for batch in self._planned() if self._legal(batch, root)]
        self.feed = Feed(
            definition, workload, key, batches=self.trials, calls=self.settings.calls,
            held=self.held, shared=device.shared,
            copies=lambda size: device.copies(size, held=held), root=root,
            allocate=lambda size: device.allocate(size, read_only=True),
        )  # fmt: skip
        self.judge.oracle.keep(self.feed.large)
        self.oracle_seconds = 0.0
        try:
            self._telling()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Frees the input ring."""
        self.feed.memory.close()
        if self._lasting is None:
            self._nursery.close()

    def _planned(self) -> Iterator[list[Call]]:
        """Trials: the workload, its contents twice, other values, hidden edges."""
        axes = self.workload.axes
        yield [Call(axes), Call(axes), Call(axes, again=0)]
        if not self.settings.edges or self.judge.sampler:
            return
        free = sizes.free(self.definition)
        small = self._with_large({n: min(v, 33) if n in free else v for n, v in axes.items()})
        yield [Call(small, profile) for profile in Profile if profile is not Profile.NORMAL]
        for edge in sizes.edges(self.definition, axes, self.rng):
            kept = self._with_large(edge)
            yield [Call(kept), Call(kept)]

    def _with_large(self, axes: Mapping[str, int]) -> dict[str, int]:
        """These axes, but those of the workload where they give a large input its one size."""
        own = self.workload.axes
        fixed = {n: own[n] for t in self._large(own) for n in t.shape or () if n in own}
        return sizes.completed(self.definition, {**axes, **fixed})

    def _known(self, axes: Mapping[str, int]) -> dict[str, int]:
        return sizes.all_axes(self.definition, axes)

    def _large(self, axes: Mapping[str, int]) -> list[Tensor]:
        """Inputs that calls of a batch share."""
        known = self._known(axes)
        return [
            tensor
            for name, tensor in self.definition.inputs.items()
            if tensor.shape is not None
            and (
                name in self.held
                or sizes.elements(tensor, known) * dtypes.stored(tensor.dtype).itemsize
                > self.device.shared
            )
        ]

    def _legal(self, batch: list[Call], root: Path | None) -> bool:
        """Whether there are inputs of these sizes; the workload itself must have some."""
        rng = np.random.default_rng(0)
        for call in batch:
            try:
                blank, known = self._blank(call.axes), self._known(call.axes)
                made = [t for n, t in self.definition.inputs.items() if n not in blank]
                if sum(sizes.elements(t, known) for t in made) < MAX_TRIED:
                    inputs.make(
                        self.definition, self.workload, call.axes, rng, root=root, kept=blank
                    )
            except InvalidRequest:
                if call.axes == self.workload.axes:
                    raise
                return False
        return True

    def _blank(self, axes: Mapping[str, int]) -> dict[str, Any]:
        """Stands for large inputs whose values make nothing legal or illegal."""
        known, large = self._known(axes), self._large(axes)
        lasting = (self.definition.treadle or {}).get("weights", ())
        return {
            name: np.broadcast_to(
                np.zeros((), dtypes.stored(tensor.dtype)), sizes.shape(tensor, known)
            )
            for name, tensor in self.definition.inputs.items()
            if tensor in large and (dtypes.is_float(tensor.dtype) or name in lasting)
        }

    @contextmanager
    def clock(self, name: str) -> Generator[None]:
        """Adds the seconds of a block to `spent`."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - begun

    def _fill(self, batch: list[Call]) -> None:
        self.feed.fill(batch)
        self.judge.oracle.forget()

    def _telling(self) -> None:
        """Raises InvalidRequest where two inputs cannot be told apart by their outputs."""
        if self.judge.sampler:
            return
        call = Call(self.workload.axes)
        self.feed.place([call])
        self._fill([call])
        first = copy.deepcopy(self._expected(call))  # an answer may be a view of the ring
        if not sum(np.size(v) for v in first.high.values()):
            return
        for _ in range(RENEW + 1):  # until even inputs that calls share are made anew
            self._fill([call])
            if not self.judge.same(first, self._expected(call)):
                return
        raise InvalidRequest(
            "other inputs give the same outputs: it would prove nothing",
            at=f"workload {self.workload.uuid}",
            hint="give inputs that matter",
        )

    def _expected(self, call: Call) -> Any:
        before = self.spent.get("oracle", 0.0)
        with self.clock("oracle"):
            found = self.feed.expect(call, self.judge)
        self.oracle_seconds = max(self.spent["oracle"] - before, 0.5 * self.oracle_seconds)
        return found

    def seat(self, side: Side) -> Seat:
        """Starts a side's process. Raises Refused."""
        known = sizes.all_axes(self.definition, self.workload.axes)
        need = self.feed.calls * output_bytes(self.definition, known)
        for batch in self.trials:
            each = (sizes.all_axes(self.definition, call.axes) for call in batch)
            need = max(need, sum(output_bytes(self.definition, k) for k in each))
        memory = self.device.allocate(need + need // 4 + (1 << 16), read_only=False)
        config = self._config(side, memory)
        player = Player(config, memory, self.settings.limits, self._nursery)
        compiles = side.solution.spec.language == "triton"
        try:
            with self.clock("start"):
                player.start(self.feed.memory, readable(side.artefact), compiles=compiles)
        except BaseException:
            player.close()
            raise
        answers = Answers(self.definition, memory, self.rng)
        return Seat(player, answers, preparation(side.solution) is not None)

    def _config(self, side: Side, outputs: Ring) -> Config:
        def kinds(group: dict[str, Any]) -> list[tuple[str, str]]:
            return [
                ("", "") if t.shape is None else (dtypes.stored(t.dtype).str, t.dtype)
                for t in group.values()
            ]

        spec = side.solution.spec
        rings = self.feed.memory.size + outputs.size
        return Config(
            artefact=str(side.artefact),
            scratch="",
            inputs=kinds(self.definition.inputs),
            outputs=kinds({n: self.definition.outputs[n] for n in returned(self.definition)}),
            into=places_written(self.definition),
            weights=weights(self.definition) if preparation(side.solution) is not None else [],
            destination_passing=spec.destination_passing_style,
            array=array_kind(side.solution, self.definition, self.device.kind),
            device=self.device.kind,
            descriptors=(-1, -1, -1),
            sizes=(self.feed.memory.size, outputs.size),
            readable=[],
            level=self.settings.level,
            # A CUDA context reserves address space for all memory there is.
            memory=self.settings.limits.memory + rings if self.device.kind == "cpu" else 1 << 46,
            seconds=self.settings.limits.processor,
            cpus=self._theirs,
            spin_ns=self.settings.spin_ns,
            threads=self.settings.threads,
        )

    def play(
        self, seats: Sequence[Seat], batch: list[Call], *, first: bool = False
    ) -> list[Timing]:
        """One batch on each seat in the given order, and how long each took."""
        if self.held:
            self._prepared(seats)
        with self.clock("plan"):
            given = self.feed.place(batch)
            if self.device.ahead:
                self.feed.blank(batch)
                self.feed.push()
                self.feed.memory.restore()
            for seat in seats:
                seat.player.plan(seat.answers.place(batch, given))
        with self.clock("fill"):
            self._fill(batch)
        with self.clock("push"):
            for seat in seats:
                ring.poison(seat.answers.memory)
                seat.answers.prefill(batch)
                seat.answers.memory.push()
            self.feed.push()
        times: list[Timing] = []
        with self.clock("play"):
            for seat in seats:
                self.feed.memory.restore()
                self.device.flush([self.feed.memory, seat.answers.memory])
                if self.held:
                    self.device.evict()
                times.append(seat.player.run(self.settings.spin_ns, first=first))
                if self.feed.memory.changed():
                    raise Refused("RUNTIME_ERROR", "an input was written", code="mutate_input")
                seat.answers.memory.pull()
        return times

    def _prepared(self, seats: Sequence[Seat]) -> None:
        """Reveals the weights of an epoch, and nothing else, to those that prepare them."""
        with self.clock("setup"):
            if any(seat.prepares and not seat.age for seat in seats):
                self.feed.meet()
            if self.feed.hold():
                self.judge.oracle.forget()
                self.feed.push()
            where = self.feed.weights()
            for seat in seats:
                if not seat.prepares or seat.age == self.feed.age:
                    continue
                self.feed.memory.restore()
                seat.player.plan(where, What.PREPARE)
                took = seat.player.run(self.settings.spin_ns, first=True)
                seat.setups.append(took.elapsed * 1e-9 / len(where))
                seat.age = self.feed.age

    def check(self, seat: Seat, batch: list[Call], phase: str) -> Any:
        """A batch of which every call is judged. Raises Refused."""
        self.play([seat], batch, first=True)
        return self.audit(seat, batch, range(len(batch)), phase)

    def audit(self, seat: Seat, batch: list[Call], slots: Sequence[int], phase: str) -> Any:
        """Judges some calls of the last batch; all judgements. Raises Refused for a wrong one."""
        found: list[Any] = []
        for slot in slots:
            call, outputs = batch[slot], seat.answers.read(slot)
            judgement = self.judge.judge(call.values, self._expected(call), outputs, self.rng)
            if not judgement.ok:
                blank = [n for n, v in outputs.items() if ring.untouched(v)]
                reason = f"{blank[0]} was never written" if blank else judgement.reason
                what = " ".join(f"{k}={v}" for k, v in call.axes.items())
                if phase != "timed" or call.profile is not Profile.NORMAL:
                    what += f" {call.profile}"
                raise Refused(
                    "INCORRECT_NUMERICAL", f"{reason} ({what})",
                    code="support_slack" if self.judge.sampler else "", phase=phase,
                    relative=judgement.worst.relative, absolute=judgement.worst.absolute,
                )  # fmt: skip
            found.append(judgement)
        if phase == "timed" and found:
            self.feed.prove()
        return found


def array_kind(solution: Solution, definition: Definition, device: str = "cpu") -> str:
    """`numpy` or `torch`: what a solution is called with.

    `spec.treadle.array` decides; else Python takes torch tensors, as v1 says, and compiled code
    takes numpy arrays where numpy knows all dtypes.
    """
    asked = (solution.spec.treadle or {}).get("array") if device == "cpu" else None
    if asked in ("numpy", "torch"):
        return str(asked)
    if solution.spec.binding != "dlpack" or device != "cpu":
        return "torch"
    kinds = {t.dtype for t in (*definition.inputs.values(), *definition.outputs.values())}
    return "torch" if kinds & {"bfloat16", "float8_e4m3fn", "float8_e5m2"} else "numpy"
