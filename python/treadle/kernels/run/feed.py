"""The inputs of batches: where they lie, what they hold, what they should give.

Every call of a batch has contents of its own, from HMAC(run key, workload, epoch, slot); one slot
in eight is a near twin of another. Inputs too large for a slot a call are shared by the calls of a
batch, changed in part before each and made anew every few epochs; where a device's cache would keep
them, several slots hold the same, and calls take turns.

Weights that a solution prepares (`held`) are shared too, and stay as they are for an epoch of their
own: some batches, nobody knows how many. Then they are changed in part or made anew.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from treadle.errors import InvalidRequest
from treadle.kernels.check import Expected, Judge, dtypes, inputs, sizes
from treadle.kernels.check.inputs import Profile
from treadle.kernels.run.device import Ring
from treadle.kernels.run.layout import ALIGN, MAX_CALLS, Operand, Place, real_bits, room
from treadle.kernels.run.ring import Arena
from treadle.kernels.schema import Definition, Workload, places_written, written

if TYPE_CHECKING:
    from numpy.typing import NDArray

BUDGET = 256 << 20
RENEW = 8
TWINS = 0.125
AGED = 0.25
"""How likely an epoch of held weights ends after a judged batch; after RENEW batches it does."""
EARLY = 5
"""Epochs that end with their first judged batch, when somebody new prepares: two or more of them
are of weights that differ from those before in one row, and not in the same one."""
PATCH, PATCHES = 4096, 8
GAP = 1 << 16
"""Bytes between two written slots that are rather sent along than sent for."""


@dataclass(slots=True)
class Call:
    """One call of a batch: its sizes, what its floats look like, where its inputs lie."""

    axes: Mapping[str, int]
    profile: Profile = Profile.NORMAL
    again: int | None = None  # the same contents as this call of the batch
    slot: int = 0
    known: dict[str, int] = field(default_factory=dict[str, int])
    offsets: dict[str, int] = field(default_factory=dict[str, int])
    values: dict[str, Any] = field(default_factory=dict[str, Any])  # views of the ring, numbers
    twin: int | None = None
    expected: Expected | None = None


class Feed:
    """Input memory of one workload, and its contents batch by batch."""

    def __init__(
        self,
        definition: Definition,
        workload: Workload,
        key: bytes,
        *,
        allocate: Callable[[int], Ring],
        batches: Sequence[Sequence[Call]],
        calls: int,
        held: frozenset[str] = frozenset(),
        shared: int = 4 << 20,
        copies: Callable[[int], int] = lambda size: 1,
        root: Path | None = None,
    ) -> None:
        """batches: trials that must fit too; calls: of a timed batch, at most. held: weights that
        stay for an epoch of their own. shared: inputs of more bytes, and those held, have `copies`
        slots, by the bytes of them all. Raises InvalidRequest where the workload has no legal
        inputs."""
        self._definition, self._workload, self._key, self._root = definition, workload, key, root
        for name, given in written(definition).items():
            was, now = definition.inputs[given], definition.outputs[name]
            if (was.shape, was.dtype) != (now.shape, now.dtype) or was.shape is None:
                raise InvalidRequest(
                    f"{name} is written over an input of another kind", at=definition.name,
                    hint="give both one shape and dtype",
                )  # fmt: skip
        self._epoch = 0
        self.held, self.age = held, 0
        self._lasted, self._young, self._proved = 0, 0, False
        self._waiting: dict[str, list[int]] = {}  # rows that a few-row change has not come to
        self._order = np.random.default_rng(list(hmac.digest(key, b"order", "sha256")))
        known = sizes.all_axes(definition, workload.axes)
        self._tensors = {n: t for n, t in definition.inputs.items() if t.shape is not None}
        self._shared = {
            name: self._bytes(name, known)
            for name in self._tensors
            if name in held or self._bytes(name, known) > shared
        }
        own = self._own(known)
        self.calls = max(1, min(calls, MAX_CALLS, BUDGET // max(own, 1)))
        while self.calls > 1 and not room(self.calls, self.operands):
            self.calls -= 1
        need = self.calls * own
        for batch in batches:
            need = max(need, sum(self._own(self._sizes(call)) for call in batch))
        self._copies = copies(sum(self._shared.values())) if self._shared else 1
        self._start = sum(self._shared.values()) * self._copies
        self._dirty: list[tuple[int, int]] = []
        self._rewritten: set[str] = set()
        self.memory = allocate(self._start + need + need // 4 + (1 << 16))
        self._arena = Arena(self.memory, self._order)
        self._large = self._lay_shared(known)
        self._renew(self.large)
        rng = np.random.default_rng(0)
        first = inputs.make(definition, workload, workload.axes, rng, root=root, kept=self._large)
        self._numbers = {n: v for n, v in first.items() if n not in self._tensors}

    @property
    def operands(self) -> int:
        """Operands of a call, inputs and outputs."""
        return len(self._definition.inputs) + len(self._definition.outputs)

    def place(self, batch: Sequence[Call]) -> list[list[Operand]]:
        """Gives each call its slots and describes its inputs; nothing is written yet."""
        names: list[tuple[Call, str]] = []
        for slot, call in enumerate(batch):
            call.slot, call.known = slot, self._sizes(call)
            names += [(call, name) for name in self._tensors if name not in self._shared]
        spans = [self._bytes(name, call.known) for call, name in names]
        places = self._arena.place(spans, after=self._start)
        for (call, name), offset in zip(names, places, strict=True):
            call.offsets[name] = offset
        return [self._describe(call) for call in batch]

    def blank(self, batch: Sequence[Call]) -> None:
        """Zeros in the indices of a placed batch: what lay there before may point anywhere."""
        for call in batch:
            for name, at in call.offsets.items():
                tensor = self._tensors[name]
                if not dtypes.is_float(tensor.dtype):
                    shape, kind = sizes.shape(tensor, call.known), dtypes.stored(tensor.dtype)
                    self.memory.view(at, shape, kind)[...] = 0
                    self._dirty.append((at, self._bytes(name, call.known)))

    def meet(self) -> None:
        """Somebody prepares weights for the first time."""
        self._young = 0

    def prove(self) -> None:
        """A usual batch of this epoch was judged: it may end."""
        self._proved = True

    def hold(self) -> bool:
        """Before a batch is placed: whether another epoch of held weights begins, whose number is
        `age`. Nothing but weights is written then."""
        if not self.held:
            return False
        self._lasted += 1
        ends = self._young < EARLY or self._lasted > RENEW or self._order.random() < AGED
        if self.age and not (ends and self._proved):
            return False
        if self.age % 2 == 0:
            self._renew(self.held)
        else:
            self._patch(self.held, few=True)
        self.age += 1
        self._young += 1
        self._lasted, self._proved = 1, False
        return True

    def weights(self) -> list[list[Operand]]:
        """Where the held weights lie, in call order: a list a copy."""
        known = sizes.all_axes(self._definition, self._workload.axes)
        tensors = [(n, t) for n, t in self._tensors.items() if n in self.held]
        return [
            [(Place.INPUT, self._starts[n] + copy * self._shared[n], sizes.shape(t, known))
             for n, t in tensors]
            for copy in range(self._copies)
        ]  # fmt: skip

    def fill(self, batch: Sequence[Call]) -> None:
        """Writes the inputs of a placed batch. Raises InvalidRequest for sizes without any."""
        passing = self.large - self.held
        if self._epoch % RENEW == 0:
            self._renew(passing)
        else:
            self._patch(passing)
        for slot, call in enumerate(batch):
            rng = self._seeded(slot)
            call.twin = None
            earlier = call.again if call.again is not None else self._twin(batch, slot)
            if earlier is not None:
                call.values = self._copy(batch[earlier], call)
                if call.again is None:
                    call.twin = earlier
                    self._differ(call, rng)
            else:
                made = inputs.make(
                    self._definition, self._workload, call.axes, rng, call.profile, self._root,
                    kept=self._large,
                )  # fmt: skip
                call.values = self._store(call, made)
            call.expected = None
            self._dirty += [(at, self._bytes(n, call.known)) for n, at in call.offsets.items()]
        self._epoch += 1

    @property
    def large(self) -> frozenset[str]:
        """Inputs that calls of a batch share."""
        return frozenset(self._shared)

    def push(self) -> None:
        """Sends what was written since the last time to the device."""
        spans: list[tuple[int, int]] = []
        for at, size in sorted(span for span in self._dirty if span[1]):
            if spans and at - sum(spans[-1]) < GAP:
                first = spans[-1][0]
                spans[-1] = (first, max(sum(spans[-1]), at + size) - first)
            else:
                spans.append((at, size))
        self.memory.push(spans)
        for name, size in self._shared.items():
            if self._copies > 1 and name in self._rewritten:
                self.memory.repeat(self._starts[name], size, self._copies)
        self._dirty = []
        self._rewritten.clear()

    def expect(self, call: Call, judge: Judge) -> Expected:
        """What a filled call should give; computed once, from the ring itself."""
        if call.expected is None:
            call.expected = judge.expect(call.values)
        return call.expected

    def _describe(self, call: Call) -> list[Operand]:
        out: list[Operand] = []
        for name, tensor in self._definition.inputs.items():
            if tensor.shape is None:
                out.append(self._number(name))
            else:
                offset = self._offset_of(name, call)
                out.append((Place.INPUT, offset, sizes.shape(tensor, call.known)))
        return out

    def _number(self, name: str) -> Operand:
        made = self._numbers[name]
        if isinstance(made, bool):
            return (Place.TRUTH, int(made), ())
        if isinstance(made, int):
            return (Place.INTEGER, made, ())
        return (Place.REAL, real_bits(float(made)), ())

    def _sizes(self, call: Call) -> dict[str, int]:
        known = sizes.all_axes(self._definition, call.axes)
        for name, size in self._shared.items():
            if self._bytes(name, known) != size:
                raise InvalidRequest(
                    f"{name} has one slot of {size} bytes", at=self._definition.name,
                    hint="keep its axes",
                )  # fmt: skip
        return known

    def _bytes(self, name: str, known: Mapping[str, int]) -> int:
        tensor = self._tensors[name]
        raw = sizes.elements(tensor, known) * dtypes.stored(tensor.dtype).itemsize
        return -(-raw // ALIGN) * ALIGN

    def _own(self, known: Mapping[str, int]) -> int:
        """Bytes of a call's own slots."""
        return sum(self._bytes(name, known) for name in self._tensors if name not in self._shared)

    def _offset_of(self, name: str, call: Call) -> int:
        if name not in self._shared:
            return call.offsets[name]
        return self._starts[name] + call.slot % self._copies * self._shared[name]

    def _lay_shared(self, known: Mapping[str, int]) -> dict[str, Any]:
        """Views of the inputs that have one slot; they are filled at the first epoch."""
        self._starts: dict[str, int] = {}
        at = 0
        for name, size in self._shared.items():
            self._starts[name] = at
            at += size * self._copies
        return {
            name: self.memory.view(
                self._starts[name],
                sizes.shape(self._tensors[name], known),
                dtypes.stored(self._tensors[name].dtype),
            )
            for name in self._shared
        }

    def _seeded(self, slot: int) -> np.random.Generator:
        text = f"{self._workload.uuid}/{self._epoch}/{slot}".encode()
        return np.random.default_rng(list(hmac.digest(self._key, text, hashlib.sha256)))

    def _renew(self, names: frozenset[str]) -> None:
        if not names:
            return
        made = inputs.make(
            self._definition, self._workload, self._workload.axes, self._seeded(-1), root=self._root
        )
        for name in names:
            self._large[name][...] = made[name]
            self._dirty.append((self._starts[name], self._shared[name]))
            self._rewritten.add(name)

    def _patch(self, names: frozenset[str], *, few: bool = False) -> None:
        """Other numbers in some places of large inputs, in one row if `few`, each time another one;
        what is legal stays so."""
        weights = (self._definition.treadle or {}).get("weights", ())
        for name, view in self._large.items():
            if name not in names:
                continue
            tensor, rng = self._tensors[name], self._order
            rows: NDArray[Any] = view.reshape(-1, view.shape[-1])
            width: int = rows.shape[1]
            packed = name in weights and not dtypes.is_float(tensor.dtype)
            if name == "cos_sin_cache" or not (packed or dtypes.is_float(tensor.dtype)):
                continue
            count = min(PATCH, width * 8 // 9 if packed else width)
            rewritten = max(PATCHES, PATCHES * PATCH // max(count, 1))
            self._rewritten.add(name)
            chosen = (
                [self._next_row(name, len(rows))] if few else rng.integers(0, len(rows), rewritten)
            )
            for row in chosen:
                at: Any = rng.integers(0, (width * 8 // 9 if packed else width) - count + 1)
                part: Any = rows[row, at : at + count]
                if packed:  # codes come before scales
                    part[...] = rng.integers(0, 256, count, dtype=np.uint8).view(part.dtype)
                elif name == "probs":  # a row goes on to add up to one
                    part[...] = rng.permutation(part)
                else:
                    part[...] = inputs.normal(rng, count, tensor.dtype)
                self._dirty.append(
                    (self._starts[name] + (int(row) * width + int(at)) * part.itemsize, part.nbytes)
                )

    def _next_row(self, name: str, rows: int) -> int:
        """Rows in an order of their own, so that no two in turn are one that is looked at."""
        if not self._waiting.get(name):
            self._waiting[name] = self._order.permutation(rows).tolist()
        return self._waiting[name].pop()

    def _twin(self, batch: Sequence[Call], slot: int) -> int | None:
        """An earlier call of the same kind, now and then, and at least once a batch."""
        due = slot == len(batch) - 1 and all(call.twin is None for call in batch)
        if slot == 0 or (not due and self._order.random() >= TWINS):
            return None
        other = int(self._order.integers(0, slot))
        same = batch[other].axes == batch[slot].axes and batch[other].profile is Profile.NORMAL
        return other if same and batch[slot].profile is Profile.NORMAL else None

    def _copy(self, source: Call, target: Call) -> dict[str, Any]:
        made: dict[str, Any] = {
            n: v if n in self._shared else copy.copy(v) for n, v in source.values.items()
        }
        return self._store(target, made)

    def _differ(self, call: Call, rng: np.random.Generator) -> None:
        """Changes a few numbers of one float input, so that the output must change too."""
        names = [
            n for n, t in self._tensors.items() if dtypes.is_float(t.dtype) and call.values[n].size
            and n not in ("probs", "top_p", *self._shared)
        ]  # fmt: skip
        if not names:
            return
        name = names[int(rng.integers(0, len(names)))]
        flat, dtype = call.values[name].reshape(-1), self._tensors[name].dtype
        where = rng.integers(0, len(flat), 3)
        flat[where] = dtypes.narrow(rng.choice([-3.5, 3.5, 2.5], 3) + rng.random(3), dtype)

    def _store(self, call: Call, made: Mapping[str, Any]) -> dict[str, Any]:
        """Copies made inputs into the ring: views of it, in call order."""
        out: dict[str, Any] = {}
        for name, value in made.items():
            if name not in self._tensors:
                out[name] = value
                continue
            if name in self._shared:
                out[name] = self._large[name]
                continue
            tensor = self._tensors[name]
            shape = sizes.shape(tensor, call.known)
            view: NDArray[Any] = self.memory.view(
                call.offsets[name], shape, dtypes.stored(tensor.dtype)
            )
            view[...] = value
            out[name] = view
        return out


def output_bytes(definition: Definition, known: Mapping[str, int]) -> int:
    """Bytes of one call's outputs, each slot aligned."""
    total = 0
    for tensor in definition.outputs.values():
        raw = sizes.elements(tensor, known) * dtypes.stored(tensor.dtype).itemsize
        total += -(-raw // ALIGN) * ALIGN
    return total


class Answers:
    """Output slots of one process."""

    def __init__(self, definition: Definition, memory: Ring, rng: np.random.Generator) -> None:
        self._definition, self.memory, self._arena = definition, memory, Arena(memory, rng)
        self._places: list[list[tuple[str, int, tuple[int, ...]]]] = []
        self._over, self._into = written(definition), places_written(definition)

    def place(
        self, batch: Sequence[Call], given: Sequence[Sequence[Operand]]
    ) -> list[list[Operand]]:
        """Gives each call its output slots and describes all its operands, of which `given` are the
        inputs: one that is written over lies in the slot of its output."""
        names = [
            (slot, name, sizes.shape(t, call.known), dtypes.stored(t.dtype).itemsize)
            for slot, call in enumerate(batch)
            for name, t in self._definition.outputs.items()
        ]
        spans = [math.prod(shape) * size for _, _, shape, size in names]
        self._places = [[] for _ in batch]
        for (slot, name, shape, _), at in zip(names, self._arena.place(spans), strict=True):
            self._places[slot].append((name, at, shape))
        return [self._described(row, ins) for row, ins in zip(self._places, given, strict=True)]

    def prefill(self, batch: Sequence[Call]) -> None:
        """Writes the filled inputs that are written over to the slots of their outputs."""
        for slot, call in enumerate(batch):
            for name, at, shape in self._places[slot]:
                if name in self._over:
                    kind = dtypes.stored(self._definition.outputs[name].dtype)
                    self.memory.view(at, shape, kind)[...] = call.values[self._over[name]]

    def _described(
        self, row: Sequence[tuple[str, int, tuple[int, ...]]], ins: Sequence[Operand]
    ) -> list[Operand]:
        operands, own = list(ins), list[Operand]()
        for i, (_, at, shape) in zip(self._into, row, strict=True):
            if i < 0:
                own.append((Place.OUTPUT, at, shape))
            else:
                operands[i] = (Place.OUTPUT, at, shape)
        return operands + own

    def read(self, slot: int) -> dict[str, Any]:
        """A copy of one call's outputs."""
        return {
            name: self.memory.view(
                at, shape, dtypes.stored(self._definition.outputs[name].dtype)
            ).copy()
            for name, at, shape in self._places[slot]
        }
