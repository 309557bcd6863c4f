"""A model in one persistent kernel on one Hopper GPU: packed once, then many steps a launch.

Decode of as many sequences as the plan has rows, greedy or by boxes that say how each step draws;
prefill writes the KV pages from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.backends.mega import cuda_pack, cuda_seats
from treadle.backends.mega.cuda_args import CODES, NEVER, NO_MORE, STEPS, Args, ballots, peers
from treadle.backends.mega.cuda_boxes import Boxes, Layout
from treadle.backends.mega.cuda_build import build
from treadle.backends.mega.cuda_driver import Device, Kernel, Memory, Shared
from treadle.backends.mega.cuda_tiles import Matrix, plain
from treadle.errors import EngineDead, KernelError, LimitExceeded
from treadle.mega.codegen import PAGE
from treadle.mega.codegen_program import Program


class Decoder:
    """Device memory and kernel of one program.

    pages: KV pages of the pool. kv: where they lie on the device, else memory of its own. `stream`
    and `kv` are written by the caller through `load` or, on the device, at their addresses. rank:
    which of a program for several this one runs (`cuda_ranks`); peers: where the packets of each
    rank lie. beside: a decoder of this model and rank for other rows, whose embedding this one
    reads, and whose `stream` if it is packed alike.
    """

    def __init__(
        self, program: Program, *, pages: int, device: Device | None = None, kv: int | None = None,
        rank: int = 0, beside: Decoder | None = None,
    ) -> None:  # fmt: skip
        plan = program.plan
        self.program, self.device, self.rank = program, device or Device(), rank
        self.device.enter()
        if plan.workers > self.device.sms:
            raise KernelError(
                f"{plan.workers} workers on {self.device.sms} SMs would wait for each other",
                at="treadle.backends.mega.cuda", hint="plan for fewer workers",
            )  # fmt: skip
        cubin, self.log = build(program.text)
        self.kernel = Kernel(cubin)
        attn = next(s for s in plan.sites if s.kv_heads)
        self.state_bytes = pages * attn.kv_heads * 2 * PAGE * attn.head * 2
        starts, ranges = cuda_pack.starts(program), cuda_pack.ranges(program)
        self.rows, self.context = plan.shape.rows, plan.shape.context
        alike = beside is not None and cuda_pack.alike(program, beside.program)
        self.stream = beside.stream if beside and alike else Memory(cuda_pack.size(program))
        rows, width = plan.sites[0].rows[0], plan.sites[0].n
        self.embed = beside.embed if beside else Memory(rows * width * 2)
        self.kv = Memory(len(plan.states) * self.state_bytes if kv is None else 0)
        self._kv_at = self.kv.at if kv is None else kv
        self._starts, self._ranges = Memory(starts.nbytes), Memory(ranges.nbytes)
        self._starts.put(starts)
        self._ranges.put(ranges)
        self.pool = Memory(program.floats * 4)
        own = ballots(plan.shape.rows, plan.workers)
        self._packets = Memory((program.packets + own) * 16)
        self._packets.fill()
        self.packets = self._packets.at
        self.peers: Sequence[int] = (self.packets,)
        self._logits = Memory(plan.shape.rows * plan.shape.vocab * 4)
        self._begin, self._claimed = Memory(plan.shape.rows * 8), Memory(16)
        self._claimed.fill()
        self.trace = Memory(plan.workers * program.phases_a_step * 9 * 32)
        self._width = plan.shape.context // PAGE
        self._pages = Memory(plan.shape.rows * self._width * 4)
        self._tokens, self._error = Shared((STEPS, plan.shape.rows, 4)), Shared((8,))
        layout = Layout(plan.shape.rows, plan.shape.vocab * plan.shape.ranks)
        self._boxes, self._allowed = Shared((2, layout.words)), Shared((16,))
        self.boxes = Boxes(layout, self._boxes.array)
        self._sheet = Shared((cuda_seats.words(plan.shape.rows, self._width),))
        self._seats = cuda_seats.Seats(plan.shape.rows, self._width, self._sheet.array)
        self.epoch, self._first, self._limit = 0, 0, 0

    def load(self, matrix: Callable[[str], Matrix], vector: Callable[[str], NDArray[Any]]) -> None:
        """Packs the weights. matrix(name): what `matrix_of` makes; vector(name): float32 [n]."""
        self.device.enter()
        names = self.program.plan.params
        blob = np.zeros(self.stream.size // 2, np.uint16)
        cuda_pack.fill(blob, self.program, lambda i: matrix(names[i]))
        self.stream.put(blob)
        self.pool.put(cuda_pack.pool(self.program, lambda i: vector(names[i])))
        self.embed.put(plain(matrix(names[self.program.embed])))

    def start(
        self, begin: Sequence[tuple[int, int]], table: NDArray[np.int32], steps: int,
        mute: tuple[int, int] = (NEVER, NEVER), rules: str = "", allowed: int | None = None,
    ) -> None:  # fmt: skip
        """Launches so many steps. begin: (token, position) of each row; table [rows, pages], whose
        pages hold the positions before and have room for the steps.

        rules: "" draws greedily, "same" by the first box, which is posted already, "each" waits for
        the box of every step. allowed: the first so many steps; the kernel waits for `allow` before
        more. Raises LimitExceeded.
        """
        self.launch(self.prepare(begin, table, steps, mute, rules, allowed))

    def prepare(
        self, begin: Sequence[tuple[int, int]], table: NDArray[np.int32], steps: int,
        mute: tuple[int, int] = (NEVER, NEVER), rules: str = "", allowed: int | None = None,
    ) -> Args:  # fmt: skip
        """What `start` does before the launch, which must follow."""
        self.device.enter()
        shape = self.program.plan.shape
        last = max(position for _, position in begin) + steps
        if steps > STEPS or last > min(shape.context, table.shape[1] * PAGE):
            raise LimitExceeded(
                "positions of a row", last, min(shape.context, table.shape[1] * PAGE)
            )
        whole = np.zeros((shape.rows, self._width), np.int32)
        whole[:, : table.shape[1]] = table[:, : self._width]
        self._pages.put(whole)
        self._begin.put(np.array(begin, np.int32))
        first, counters = self.program.counters
        if counters:
            self._packets.clear(first * 16, counters * 16)
        if rules == "each":
            self.boxes.clear()
        self._seats.clear()
        self._limit = steps
        if allowed is not None:
            self._allowed.array[0] = allowed
        args = Args(
            self.stream.at, self._starts.at, self._ranges.at, self.pool.at, self.embed.at,
            self._kv_at, self._pages.at, self._packets.at, self._logits.at, self._begin.at,
            self._tokens.at, self._error.at, self._claimed.at, self.trace.at, self.state_bytes,
            self._boxes.at if rules else 0, self._allowed.at if allowed is not None else 0,
            self._sheet.at if allowed is not None else 0,
            self.boxes.layout.words, shape.vocab, self.program.packets, rules == "same",
            self.epoch, steps, self._width, *mute, self.rank, peers(self.peers),
        )  # fmt: skip
        self._first = self.epoch
        self.epoch = (self.epoch + steps * self.program.phases_a_step) & NEVER
        return args

    def launch(self, args: Args) -> None:
        """Starts what was prepared."""
        self.device.enter()
        self.device.launch(self.kernel, self.program.plan.workers, args)

    def share(self, first: Decoder) -> None:
        """Reads another rank's boxes, seats and number of allowed steps instead of its own."""
        self.boxes, self._boxes, self._allowed = first.boxes, first._boxes, first._allowed
        self._sheet, self._seats = first._sheet, first._seats

    def seat(
        self, steps: int, pages: Mapping[int, tuple[int, Sequence[int]]],
        taken: Mapping[int, tuple[int, int]],
    ) -> None:  # fmt: skip
        """Changes rows of the launch once it has made so many steps, all that it was allowed. A
        step behind the change before must have drawn.

        pages: of a row that gets others, from which one on, and which. taken: (token, position)
        that a row goes on with, of which the pages hold what comes before. Raises LimitExceeded.
        """
        last = max((position for _, position in taken.values()), default=0) + self._limit - steps
        if last > self.context:
            raise LimitExceeded("positions of a row", last, self.context)
        self._seats.post(steps, pages, taken)

    def allow(self, steps: int, *, last: bool = False) -> None:
        """Lets the launch run so many steps in all; last: and end after them."""
        self._allowed.array[0] = steps | (NO_MORE if last else 0)

    def told(self, step: int) -> NDArray[np.uint32] | None:
        """(token, position, status) of each row of a step of the launch, [rows, 3]; None before
        the step has drawn. May be asked while the kernel runs."""
        mark = (self._first + (step + 1) * self.program.phases_a_step) & NEVER
        rows = self._tokens.array[step]
        return rows[:, :3].copy() if (rows[:, 3] == mark).all() else None

    def over(self) -> bool:
        """Whether the launch has ended, well or not."""
        return self.device.idle()

    def wait(self) -> None:
        """Until the launch is over. Raises EngineDead with the error record of a hung worker."""
        try:
            self.device.enter()
            self.device.wait()
        except KernelError as error:
            raise EngineDead(f"{error}; {self.record()}", hint="start the process again") from None

    def record(self) -> str:
        """The first wait that was in vain, in words."""
        code, worker, row, counter, seen, need, epoch, rank = self._error.array.tolist()
        if not code:
            return "no worker left an error record"
        what, of = CODES.get(code, code), ""
        if self.program.inboxes:
            sources = [box.source(counter) for box in self.program.inboxes] if code == 1 else []
            what = next((f"a packet of rank {r}" for r in sources if r is not None), what)
            of = f" of rank {rank}"
        return (
            f"worker {worker}{of} waited for {what} in phase {row}: "
            f"counter {counter}, seen {seen}, needed {need}, launch epoch {epoch}"
        )

    def tokens(self, steps: int) -> NDArray[np.int32]:
        """[steps, rows] of the last launch, which is over."""
        return self._tokens.array[:steps, :, 0].astype(np.int32)

    def sent(self, like: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """The first packets that workers and ranks have sent each other, into `like` [n, 4]."""
        self.device.enter()
        return self._packets.get(like)

    def logits(self) -> NDArray[np.float32]:
        """[rows, V] of the last step."""
        self.device.enter()
        shape = self.program.plan.shape
        return self._logits.get(np.empty((shape.rows, shape.vocab), np.float32))
