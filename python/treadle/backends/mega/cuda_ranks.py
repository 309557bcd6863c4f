"""Tensor parallelism: one persistent kernel a GPU, each with its shard, that sum in one another's
memory.

One process starts all of them. What a rank's workers send to all ranks they store into memory that
the devices map from each other (peer access over NVLink), so nothing of the host is in a step; the
residual stream, and with it every token, is the same on all ranks bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.backends.mega.cuda import Decoder
from treadle.backends.mega.cuda_args import NEVER
from treadle.backends.mega.cuda_driver import Device
from treadle.backends.mega.cuda_tiles import Matrix
from treadle.errors import EngineDead, KernelError
from treadle.graph import Graph, cuts
from treadle.mega.codegen_program import Program


class Ranks:
    """The decoders of a program for several ranks, together what `cuda.Decoder` is for one.

    devices: GPU of each rank; several ranks on one GPU, which is for tests, must have room for all
    workers at once. kv: where each rank's pages lie, else memory of their own. beside: those of the
    same model for other rows (`cuda.Decoder`). Every call leaves the first GPU current in its
    thread, for others who use it. Raises Unsupported without peer access.
    """

    def __init__(
        self, program: Program, devices: Sequence[Device], *, pages: int,
        kv: Sequence[int] | None = None, beside: Sequence[Decoder] | None = None,
    ) -> None:  # fmt: skip
        shape = program.plan.shape
        if len(devices) != shape.ranks:
            raise KernelError(
                f"{len(devices)} GPUs for {shape.ranks} ranks",
                at="treadle.backends.mega.cuda_ranks", hint="name one GPU a rank",
            )  # fmt: skip
        for device in devices:
            together = program.plan.workers * sum(d.number == device.number for d in devices)
            if together > device.sms:
                raise KernelError(
                    f"{together} workers on {device.sms} SMs would wait for each other",
                    at="treadle.backends.mega.cuda_ranks", hint="plan for fewer workers",
                )  # fmt: skip
            for other in devices:
                device.reach(other)
        self.program, self.rows, self.context = program, shape.rows, shape.context
        self.decoders = [
            Decoder(
                program,
                pages=pages,
                device=device,
                rank=r,
                kv=kv[r] if kv else None,
                beside=beside[r] if beside else None,
            )
            for r, device in enumerate(devices)
        ]
        for decoder in self.decoders:
            decoder.peers = [other.packets for other in self.decoders]
        self._first = self.decoders[0]
        self.boxes = self._first.boxes
        for decoder in self.decoders[1:]:  # one box, which every rank reads itself
            decoder.share(self._first)
        self._first.device.enter()

    def load(
        self, matrix: Callable[[int, str], Matrix], vector: Callable[[int, str], NDArray[Any]]
    ) -> None:
        """Packs the weights of each rank: what `cuda.Decoder.load` takes, of (rank, name)."""
        for r, decoder in enumerate(self.decoders):
            decoder.load(lambda name, r=r: matrix(r, name), lambda name, r=r: vector(r, name))
        self._first.device.enter()

    def start(
        self, begin: Sequence[tuple[int, int]], table: NDArray[np.int32], steps: int,
        mute: tuple[int, int, int] = (NEVER, NEVER, NEVER), rules: str = "",
        allowed: int | None = None,
    ) -> None:  # fmt: skip
        """As `cuda.Decoder.start`, on all ranks. mute: rank, worker and epoch of a test's fault."""
        silent = (NEVER, NEVER)
        args = [
            d.prepare(
                begin, table, steps, mute[1:] if d.rank == mute[0] else silent, rules, allowed
            )
            for d in self.decoders
        ]
        for decoder, one in zip(self.decoders, args, strict=True):
            decoder.launch(one)
        self._first.device.enter()

    def seat(
        self, steps: int, pages: Mapping[int, tuple[int, Sequence[int]]],
        taken: Mapping[int, tuple[int, int]],
    ) -> None:  # fmt: skip
        """As `cuda.Decoder.seat`: every rank reads the one sheet. A step that the first rank has
        told was drawn by all, so none still reads the sheet before."""
        self._first.seat(steps, pages, taken)

    def allow(self, steps: int, *, last: bool = False) -> None:
        """Lets the launch run so many steps in all; last: and end after them."""
        self._first.allow(steps, last=last)

    def told(self, step: int) -> NDArray[np.uint32] | None:
        """What `cuda.Decoder.told` says of the first rank; the others draw the same."""
        return self._first.told(step)

    def over(self) -> bool:
        """Whether all ranks have ended."""
        found = [decoder.over() for decoder in self.decoders]
        self._first.device.enter()
        return all(found)

    def wait(self) -> None:
        """Until the launch is over on all ranks. Raises EngineDead with their error records."""
        died: list[str] = []
        for decoder in self.decoders:
            try:
                decoder.wait()
            except EngineDead as error:
                died.append(f"rank {decoder.rank}: {error.message}")
        self._first.device.enter()
        if died:
            raise EngineDead("; ".join(died), hint="start the process again")

    def tokens(self, steps: int) -> NDArray[np.int32]:
        """[ranks, steps, rows] of the last launch, which is over."""
        return np.stack([decoder.tokens(steps) for decoder in self.decoders])

    def logits(self) -> NDArray[np.float32]:
        """[rows, V] of the last step, V over all ranks."""
        parts = [decoder.logits() for decoder in self.decoders]
        self._first.device.enter()
        return np.concatenate(parts, axis=1)


Cutter = Callable[[int, str, Callable[[str], Any]], Any]
"""(rank, name of a param, the array of a whole one) to the rank's part."""


def cutter(graph: Graph, ranks: int) -> Cutter:
    """cut(rank, name, whole): a rank's part of a param of `shard(graph, ranks)`. graph: the model;
    whole(name): its array, numpy or torch."""
    tables = [cuts(graph, ranks, rank) for rank in range(ranks)]

    def cut(rank: int, name: str, whole: Callable[[str], Any]) -> Any:
        part = tables[rank][name]
        found = whole(part.source)
        for axis, index in enumerate(part.index):
            if index is not None and len(index) != found.shape[axis]:
                found = found[(slice(None),) * axis + (_run(index),)]
        return found * 0 if part.zero else found

    return cut


def _run(index: NDArray[np.int64]) -> Any:
    """Indices as a slice, which copies nothing, where they are a run."""
    whole = index[-1] - index[0] + 1 == len(index)
    return slice(int(index[0]), int(index[-1]) + 1) if whole else index
