"""The loop: one step of the device overlapped with the host's work on the step before.

    host    │ schedule, launch t │ collect t−1 │ masks t │ sample t │ schedule, launch t+1 │ …
    device  │  … sample t−1      │ forward t ────────────│ sample t │ forward t+1 …

`step_plain` is the same five parts one after another. It is the oracle of `step`: same seeds, same
tokens. The loop sees numbers and compiled grammars; what a step yields leaves as one frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct, field

from treadle.engine.batches import Batches, Draws, Rows
from treadle.engine.collect import NOT_FINITE, Writer, advance, row_error
from treadle.engine.inbox import Inbox, again
from treadle.engine.jump import Encode, Jump
from treadle.engine.masks import Masks
from treadle.engine.meter import Meter
from treadle.engine.pace import Pace
from treadle.engine.pages import PagePool
from treadle.engine.request import Event, Request, Sequence, State, Submit
from treadle.engine.scheduler import Scheduler, Slice
from treadle.engine.stats import Stats
from treadle.errors import Cancelled, EngineDead, NotReady, TreadleError
from treadle.text import Spellings

if TYPE_CHECKING:
    from treadle.backends.base import Executable, Handle, TokenFuture
    from treadle.types import FinishReason, Mask, SampleBatch, TokenTable

Frame = list[Event]


class LoopOptions(Struct, frozen=True):
    """Budgets of the loop: rows and tokens a step, seconds a mixed step should last. With `encode`
    (a text's ids), text that a grammar forces is appended and not drawn."""

    sequences: int = 64
    batch_tokens: int = 512
    target_step: float = 0.05
    overlap: bool = True
    identity: bytes = b""  # graph and KV dtype: what page contents depend on besides tokens
    encode: Encode | None = None


class InFlight(Struct, eq=False):
    """A step on the device. It owns the pages of its rows that ended or were preempted meanwhile:
    they return to the pool when the step has finished, not before."""

    plan: list[Slice]
    rows: Rows
    logits: Handle
    launched: float
    tokens: TokenFuture | None = None
    masked: float = 0.0  # seconds its masks took
    owned: list[tuple[list[int], int]] = field(default_factory=list[tuple[list[int], int]])


class Loop:
    """Runs requests from an inbox on one executable, from one thread.

    `deliver` receives each step's frame on that thread and must not block.
    """

    def __init__(
        self,
        exe: Executable,
        table: TokenTable,
        inbox: Inbox,
        deliver: Callable[[Frame], None],
        options: LoopOptions,
        stats: Stats | None = None,
    ) -> None:
        self.exe = exe
        self.inbox = inbox
        self.stats = stats or Stats()
        self.requests: dict[int, Request] = {}
        self.pool = PagePool(exe.pages, exe.page_size)
        self.scheduler = Scheduler(
            self.pool,
            sequences=options.sequences,
            batch_tokens=options.batch_tokens,
            pace=Pace(options.target_step),
            stats=self.stats,
            identity=options.identity,
        )
        self._table = table
        self._spellings = Spellings(table)
        self._ends = frozenset(table.stop_ids)
        self._deliver = deliver
        self._batches = Batches(exe.page_size)
        self._draws = Draws()
        self._masks = Masks(options.sequences, exe.vocab, table.stop_ids)
        self._jump = Jump(options.encode)
        self._frame: Frame = []
        self._meter = Meter(self.stats, self.scheduler.pace)
        self.stats.pages, self.stats.page_size = exe.pages, exe.page_size

    def step(self, prev: InFlight | None) -> InFlight | None:
        """One overlapped step: launches step t, finishes t−1 behind it, then samples t."""
        self.admit()
        plan = self.schedule()
        cur = self.launch(plan) if plan else None
        if prev:
            self.collect(prev, cur)
        if cur:
            cur.tokens = self.exe.sample(cur.logits, self.masks(cur), self.draws(cur))
        self.deliver()
        return cur

    def step_plain(self) -> bool:
        """One step with nothing overlapped; False when nothing could run."""
        self.admit()
        plan = self.schedule()
        if plan:
            cur = self.launch(plan)
            cur.tokens = self.exe.sample(cur.logits, self.masks(cur), self.draws(cur))
            self.collect(cur)
        self.deliver()
        return bool(plan)

    def admit(self) -> None:
        """Takes in what arrived since the last step; an abort finds even what came with it."""
        aborts, submits = self.inbox.drain()
        for submit in submits:
            self._open(submit)
        for number in aborts:
            if request := self.requests.get(number):
                self._fail(request, Cancelled("the caller left", at=f"request {number}"))

    def schedule(self) -> list[Slice]:
        """What the next step computes; empty when nothing can run."""
        start = time.monotonic()
        plan = self.scheduler.next_batch()
        if plan:
            self._meter.phase("schedule", start)
        return plan

    def launch(self, plan: list[Slice]) -> InFlight:
        """Queues the forward pass of a plan and counts its tokens as computed."""
        batch, rows = self._batches.build(plan)
        now = time.monotonic()
        cur = InFlight(plan, rows, self.exe.forward(batch), now)
        for part in plan:
            seq = part.seq
            seq.computed += part.count
            seq.flying = cur
            if seq.computed >= seq.page_end:
                self.scheduler.publish(seq)
            if seq.request.started is None:
                self._started(seq.request, now)
        for r, seq in enumerate(rows):
            if seq is not None:
                seq.pending += 1
                seq.row = r
        self.stats.iteration_tokens.observe(len(batch.ids))
        self._meter.phase("launch", now)
        return cur

    def masks(self, cur: InFlight) -> Mask | None:
        """Fills the masks of a step's living rows; a row whose grammar fails ends its request."""
        start = time.monotonic()
        mask, failures = self._masks.fill(_living(cur.rows))
        for seq, error in failures:
            self._fail(seq.request, error)
        self._meter.phase("masks", start)
        if mask is not None:
            cur.masked = time.monotonic() - start
            self.stats.mask_fill.observe(cur.masked)
        return mask

    def draws(self, cur: InFlight) -> SampleBatch:
        """The sampling parameters of a step's rows, as of everything collected so far."""
        return self._draws.build(cur.rows)

    def collect(self, done: InFlight, ahead: InFlight | None = None) -> None:
        """Waits for a step's tokens and advances every sequence that still lives. One that jumps
        leaves the draws of the step launched behind it, `ahead`."""
        assert done.tokens is not None
        start = time.monotonic()
        sampled = done.tokens.wait()
        now = time.monotonic()
        self._meter.waited(done, start, now)
        for part in done.plan:
            if part.seq.flying is done:
                part.seq.flying = None
        moved: list[Sequence] = []
        given = 0
        ids, status = sampled.ids.tolist(), sampled.status.tolist()
        refused = self._masks.accept(_living(done.rows), ids, status)
        for r, seq in enumerate(done.rows):
            if seq is None or seq.state is State.DONE:
                continue
            seq.pending -= 1
            error = self._row_error(seq, status[r]) if status[r] else refused.get(r)
            if error is not None:
                self._fail(seq.request, error)
                continue
            forced = self._jump.after(seq, ids[r])
            delta = advance(seq, [ids[r], *forced], r, sampled, self._table)
            self._frame.append(Event(seq.id, delta))
            if len(seq.ids) >= seq.page_end:
                self.scheduler.publish(seq)
            moved.append(seq)
            given += len(delta.token_ids)
            if delta.finish_reason is not None:
                self._finish(seq, delta.finish_reason)
            elif forced:
                self.stats.forced_tokens += len(forced)
                self._overtake(seq, ahead)
        self._meter.tokens(moved, given, now)
        for pages, counted in done.owned:
            self.scheduler.returned(pages, counted)
        self._meter.phase("collect", now)

    def deliver(self) -> None:
        """Hands the step's frame over and sets the gauges."""
        if self._frame:
            frame, self._frame = self._frame, []
            self._deliver(frame)
        stats = self.stats
        stats.steps += 1
        stats.running = len(self.scheduler.running)
        stats.waiting = len(self.scheduler.waiting)
        stats.pages_held = self.pool.held

    def fail_all(self, error: EngineDead | NotReady) -> None:
        """Ends every request with an error, for an engine that stops."""
        _, submits = self.inbox.drain()
        for number in [*self.requests, *(submit.id for submit in submits)]:
            self._frame.append(Event(number, end=True, error=again(error)))
        for request in self.requests.values():
            for seq in request.sequences:
                seq.matcher = seq.writer = None
        self.requests.clear()
        self.deliver()

    def check_integrity(self) -> None:
        """Raises RuntimeError unless an idle loop holds no request, row, page or queue place."""
        if self.requests:
            raise RuntimeError(f"idle loop still has requests {sorted(self.requests)[:8]}")
        self.scheduler.check()
        self.pool.check()
        self.inbox.check()

    def _open(self, submit: Submit) -> None:
        request = Request(submit, time.monotonic())
        sampling = submit.sampling
        tokens = len(submit.ids) + (sampling.max_tokens or 0)
        ends = self._ends | frozenset(sampling.stop_token_ids)
        for index in range(sampling.n):
            seq = Sequence(request, index, -(-tokens // self.pool.size))
            seq.writer = Writer(self._spellings.detokeniser(submit.shown), ends, sampling)
            request.sequences.append(seq)
        request.open = sampling.n
        self.requests[submit.id] = request
        self.scheduler.add(request)
        if submit.grammar is not None:
            try:
                for seq in request.sequences:
                    seq.matcher = submit.grammar.matcher()
            except TreadleError as error:
                self._fail(request, error)

    def _row_error(self, seq: Sequence, status: int) -> TreadleError:
        if status == NOT_FINITE:
            self.pool.forget(seq.keys)  # what made the logits unusable may lie in its pages
        return row_error(status, seq.matcher is not None)

    def _overtake(self, seq: Sequence, ahead: InFlight | None) -> None:
        """The token that `ahead` draws for a sequence that jumped is known already."""
        if seq.pending:
            assert ahead is not None
            ahead.rows[seq.row] = None
            seq.pending = 0

    def _finish(self, seq: Sequence, reason: FinishReason) -> None:
        self.stats.finished[reason] += 1
        self._retire(seq)
        seq.request.open -= 1
        if seq.request.open == 0:
            self._end(seq.request, None)

    def _retire(self, seq: Sequence) -> None:
        self.scheduler.retire(seq)
        seq.matcher = seq.writer = None

    def _fail(self, request: Request, error: TreadleError) -> None:
        if self.requests.get(request.submit.id) is not request:
            return  # another of its choices failed in the same step
        reason = "abort" if isinstance(error, Cancelled) else "error"
        for seq in request.sequences:
            if seq.state is not State.DONE:
                self._retire(seq)
                self.stats.finished[reason] += 1
        self._end(request, error)

    def _end(self, request: Request, error: TreadleError | None) -> None:
        del self.requests[request.submit.id]
        self.inbox.left(request.submit.id)
        self._frame.append(Event(request.submit.id, end=True, error=error))
        self.stats.request_latency.observe(time.monotonic() - request.arrived)

    def _started(self, request: Request, now: float) -> None:
        request.started = now
        self.inbox.left(request.submit.id)
        self.stats.queue_time.observe(now - request.arrived)
        self.stats.prompt_tokens += len(request.submit.ids)


def _living(rows: Rows) -> Rows:
    """The rows without those whose sequence has ended."""
    return [seq if seq is not None and seq.state is not State.DONE else None for seq in rows]
