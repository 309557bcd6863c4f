"""Which tokens run in the next step: one ragged batch of decode rows and prefill chunks.

Order: decode rows (with what a grammar forced behind their last token), then running prefills,
then new sequences by (priority with ageing, fewest running of their tenant, arrival). Running
sequences are ranked once, when they are admitted; the first of them is never preempted by another,
so it ends, and then the next one is first: everything admitted ends. Waiting raises the priority,
so everything accepted is admitted.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter

from msgspec import Struct

from treadle.engine.jump import LONGEST
from treadle.engine.pace import Pace
from treadle.engine.pages import PagePool
from treadle.engine.request import Request, Sequence, State
from treadle.engine.stats import Stats

AGE_STEPS = 256  # steps of waiting that raise a sequence's priority by one
_RETRY = 32  # steps after which a full house is looked at again
RESERVE = 0.02  # share of the pages that admission leaves to running sequences


class Slice(Struct):
    """Tokens start .. start+count of one sequence in a step; `draws` = its last one is sampled."""

    seq: Sequence
    start: int
    count: int
    draws: bool


class Scheduler:
    """Owns the sequences that wait and run, and decides who holds pages.

    `sequences` bounds the rows of a step, `batch_tokens` its tokens. `identity` is everything
    besides tokens and tenant that page contents depend on.
    """

    def __init__(
        self,
        pool: PagePool,
        *,
        sequences: int,
        batch_tokens: int,
        pace: Pace,
        stats: Stats,
        identity: bytes = b"",
    ) -> None:
        self.pool = pool
        self.sequences = min(sequences, batch_tokens)  # so a running prefill always has room
        self.batch_tokens = batch_tokens
        self.pace = pace
        self.stats = stats
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []  # by rank
        self.returning = 0  # pages that dead rows of the step in flight will give back
        self._identity = identity
        self._reserve = max(1, int(pool.count * RESERVE))
        self._tenants: Counter[bytes] = Counter()
        self._clock = 0
        self._short = -1  # pages there were when the first in line did not fit

    def add(self, request: Request) -> None:
        """Queues the choices of a request; all but the first wait for its prefill."""
        self._short = -1
        for seq in request.sequences:
            seq.since = self._clock
            seq.leader = request.sequences[0] if seq.index else None
            self.waiting.append(seq)

    def next_batch(self) -> list[Slice]:
        """The slices of the next step, empty when nothing can run."""
        self._clock += 1
        plan: list[Slice] = []
        starved, prefilling = False, False
        spare = self.batch_tokens - len(self.running)  # beyond one token for each
        for seq in tuple(self.running):
            if seq.state is not State.RUNNING:
                continue  # preempted for the sake of one before it
            start, known = seq.computed, len(seq.ids) + seq.pending
            if _prefills(seq):
                prefilling = True
            elif known < seq.limit:  # else the draw in flight is its last
                count = min(known - start, 1 + max(spare, 0))
                if self._cover(seq, start + count):
                    plan.append(Slice(seq, start, count, start + count == known))
                    spare -= count - 1
                else:
                    starved = True
        if not prefilling and (starved or not self.waiting):
            return plan
        budget = self._prefill_budget(plan)
        for seq in self.running:
            if _prefills(seq) and budget > 0:
                budget -= self._chunk(plan, seq, budget)
        if not starved and not self._blocked():
            while budget > 0 and len(self.running) < self.sequences:
                seq = self._next_waiting()
                if seq is None:
                    break
                if not self._admit(seq):
                    self._short = self.pool.available
                    break
                budget -= self._chunk(plan, seq, budget)
        return plan

    def publish(self, seq: Sequence) -> None:
        """Offers the full pages of a sequence whose tokens are known to the prefix cache."""
        full = min(len(seq.ids), seq.computed) // self.pool.size
        if full <= seq.published:
            return
        self.pool.extend_keys(seq.keys, self._root(seq), seq.ids, full * self.pool.size)
        for i in range(seq.published, full):
            self.pool.publish(seq.pages[i], seq.keys[i])
        seq.published = full
        seq.page_end = (full + 1) * self.pool.size

    def retire(self, seq: Sequence) -> None:
        """Ends a sequence, wherever it stands, and gives its pages back."""
        if seq.state is State.RUNNING:
            self._stop_running(seq)
        elif seq.state is State.WAITING:
            self.waiting.remove(seq)
        seq.state = State.DONE
        self._give_back(seq)

    def returned(self, pages: list[int], counted: int) -> None:
        """Takes pages back that a finished step owned for its dead rows."""
        self.returning -= counted
        self.pool.release(pages)

    def check(self) -> None:
        """Raises RuntimeError unless an idle scheduler holds nothing."""
        if self.waiting or self.running or self.returning or any(self._tenants.values()):
            raise RuntimeError(
                f"idle scheduler holds {len(self.waiting)} waiting, {len(self.running)} running, "
                f"{self.returning} returning pages, tenants {dict(+self._tenants)}"
            )

    def _prefill_budget(self, plan: list[Slice]) -> int:
        tokens = sum(part.count for part in plan)
        most = self.batch_tokens - tokens
        if not plan:
            return most
        kv_tokens = sum(part.start + 1 for part in plan)
        return min(most, max(self.pace.room(tokens, kv_tokens, most), self.pool.size))

    @staticmethod
    def _chunk(plan: list[Slice], seq: Sequence, budget: int) -> int:
        count = min(seq.todo, budget)
        plan.append(Slice(seq, seq.computed, count, count == seq.todo))
        return count

    def _cover(self, seq: Sequence, tokens: int) -> bool:
        """Sees to pages for the first `tokens` tokens of `seq`; False if there are none now."""
        while len(seq.pages) * self.pool.size < tokens:
            if not self._grow(seq):
                return False
        return True

    def _grow(self, seq: Sequence) -> bool:
        """Takes a page for the next token of `seq`; preempts others, or it, if need be."""
        while self.pool.available == 0:
            if self.returning > 0:
                return False  # the step in flight gives pages back soon: sit out one step
            victim = self.running[-1]
            self._preempt(victim)
            if victim is seq:
                return False
        seq.hold(self.pool.take(1))
        return True

    def _preempt(self, seq: Sequence) -> None:
        self._stop_running(seq)
        self._give_back(seq)
        self._short = -1
        seq.state = State.WAITING
        seq.since = self._clock
        seq.preemptions += 1
        if seq.preemptions >= 3:
            seq.priority += 1
        self.waiting.append(seq)
        self.stats.preemptions += 1

    def _stop_running(self, seq: Sequence) -> None:
        self.running.remove(seq)
        salt = seq.request.submit.salt
        self._tenants[salt] -= 1
        if not self._tenants[salt]:
            del self._tenants[salt]

    def _give_back(self, seq: Sequence) -> None:
        pages = seq.let_go()
        if seq.flying is None:
            self.pool.release(pages)
        elif pages:
            counted = self.pool.sole(pages)
            seq.flying.owned.append((pages, counted))
            self.returning += counted

    def _blocked(self) -> bool:
        """Whether trying again would find what the last attempt found: the first in line does not
        fit. Looked at afresh now and then, as ageing and the prefix cache move on."""
        fits_now = self.pool.available > self._short or not self.running
        return not fits_now and self._clock % _RETRY != 0

    def _next_waiting(self) -> Sequence | None:
        best: Sequence | None = None
        best_order = (0, 0, 0, 0)
        for seq in self.waiting:
            if seq.pending or self._follows(seq):
                continue
            submit = seq.request.submit
            order = (-self._effective(seq), self._tenants[submit.salt], submit.id, seq.index)
            if best is None or order < best_order:
                best, best_order = seq, order
        return best

    def _effective(self, seq: Sequence) -> int:
        return seq.priority + (self._clock - seq.since) // AGE_STEPS

    def _follows(self, seq: Sequence) -> bool:
        """Whether pages that `seq` can share are about to be computed by its first choice."""
        leader = seq.leader
        if leader is None or leader.state is State.DONE or seq.cached is not None:
            return False
        return leader.published < (leader.prompt - 1) // self.pool.size

    def _admit(self, seq: Sequence) -> bool:
        size = self.pool.size
        known = len(seq.ids)
        shareable = (known - 1) // size  # the last token is always computed
        self.pool.extend_keys(seq.keys, self._root(seq), seq.ids, shareable * size)
        pages = self.pool.lookup(seq.keys[:shareable])
        need = -(-known // size) - len(pages)
        if need + (self._reserve if self.running else 0) > self.pool.available:
            self.pool.release(pages)
            return False
        hit = len(pages)
        seq.hold(pages)
        seq.hold(self.pool.take(need))
        seq.computed, seq.published = hit * size, hit
        seq.page_end = (hit + 1) * size
        if seq.cached is None:
            seq.cached = hit * size
            self.stats.prefix_queries += known
            self.stats.prefix_hits += hit * size
        self.waiting.remove(seq)
        seq.state = State.RUNNING
        seq.rank = (-self._effective(seq), seq.request.submit.id, seq.index)
        insort(self.running, seq, key=lambda s: s.rank)
        self._tenants[seq.request.submit.salt] += 1
        return True

    def _root(self, seq: Sequence) -> bytes:
        return self.pool.root(self._identity, seq.request.submit.salt)


def _prefills(seq: Sequence) -> bool:
    """Whether `seq` computes what it was given, and not what was drawn or forced last."""
    return seq.todo > 1 and (seq.computed < seq.prompt or seq.todo > LONGEST)
