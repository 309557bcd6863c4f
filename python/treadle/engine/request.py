"""A request inside the engine: what was submitted, and one `Sequence` for each of its choices.

waiting ──admit──► running (prefill, then decode) ──collect──► done
   ▲                  │
   └────preempt───────┘        tokens and matcher stay, pages go
"""

from __future__ import annotations

from array import array
from enum import Enum
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct, field

from treadle.errors import TreadleError
from treadle.types import Delta, Sampling

if TYPE_CHECKING:
    from treadle.engine.collect import Writer
    from treadle.engine.loop import InFlight
    from treadle.grammar import Compiled, Matcher

_MASK64 = (1 << 64) - 1


class State(Enum):
    """Where a sequence stands."""

    WAITING = 0
    RUNNING = 1
    DONE = 2


class Submit(Struct, frozen=True):
    """A validated request as the loop sees it: numbers and a compiled grammar, no untrusted text.

    `sampling` has `max_tokens` and `seed` set. Higher `priority` goes first. `salt` separates
    tenants in the prefix cache and in the queue's round robin. Control tokens in `shown` are part
    of the text.
    """

    id: int
    ids: tuple[int, ...]
    sampling: Sampling
    grammar: Compiled | None = None
    priority: int = 0
    salt: bytes = b""
    shown: frozenset[int] = frozenset()


class Event(msgspec.Struct, frozen=True):
    """One entry of a step's frame: a delta of a request, or its end (with an error or without)."""

    id: int
    delta: Delta | None = None
    end: bool = False
    error: TreadleError | None = None


def choice_key(seed: int, index: int) -> int:
    """The 64-bit noise key of choice `index`: the seed itself for choice 0, so that n = 1 equals
    the first of n = 4; for the others the SplitMix64 output number `index` of a stream started at
    the seed (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    """
    state = (seed + index * 0x9E3779B97F4A7C15) & _MASK64
    if index == 0:
        return state
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK64
    return state ^ (state >> 31)


class Counts:
    """How often each token occurs in the output, as the growing arrays that penalties read.

    Tokens that only the prompt holds have count 0 and are kept only when the repetition penalty
    needs them.
    """

    __slots__ = ("_slot", "counts", "ids")

    def __init__(self, prompt: set[int]) -> None:
        self.ids = array("i")
        self.counts = array("i")
        self._slot: dict[int, int] = {}
        for token in sorted(prompt):
            self._slot_of(token)

    def add(self, token: int) -> None:
        """Counts one output token."""
        self.counts[self._slot_of(token)] += 1

    def _slot_of(self, token: int) -> int:
        slot = self._slot.setdefault(token, len(self.ids))
        if slot == len(self.ids):
            self.ids.append(token)
            self.counts.append(0)
        return slot


class Request(Struct, eq=False):
    """One submitted request and how far it has come. Times are `time.monotonic()` seconds."""

    submit: Submit
    arrived: float
    sequences: list[Sequence] = field(default_factory=list["Sequence"])
    open: int = 0  # choices that have not ended
    started: float | None = None  # first admitted
    last_token: float | None = None  # when it last got a token


class Sequence:
    """One choice: its tokens, its pages, its matcher.

    `ids` are the tokens the host knows, prompt first. `pending` counts those being drawn by steps
    in flight: at most one between steps. `computed` tokens have their KV written or in the queue;
    the rest, `todo`, is at least one while the sequence lives: the last token is never computed.
    """

    __slots__ = (
        "cached", "computed", "counts", "flying", "id", "ids", "index", "key", "keys", "leader",
        "limit", "matcher", "page_end", "page_table", "pages", "pending", "preemptions",
        "priority", "prompt", "published", "rank", "request", "row", "sampling", "since",
        "state", "writer",
    )  # fmt: skip

    def __init__(self, request: Request, index: int, capacity: int) -> None:
        submit = request.submit
        self.request = request
        self.id = submit.id
        self.index = index
        self.sampling: Sampling = submit.sampling
        self.ids: list[int] = list(submit.ids)
        self.prompt = len(submit.ids)
        self.limit = self.prompt + (self.sampling.max_tokens or 0)  # tokens it may have in all
        self.pending = 0
        self.computed = 0
        self.row = 0  # its logits row in the step in flight
        self.state = State.WAITING
        self.pages: list[int] = []
        self.page_table = array("i", bytes(4 * capacity))  # pages, for Batch.table
        self.keys: list[bytes] = []  # content keys of its full pages, as far as computed
        self.page_end = 0  # tokens at which the next page can be offered
        self.published = 0  # how many of its pages were offered to the prefix cache
        self.cached: int | None = None  # prompt tokens found in the cache when first admitted
        self.priority = submit.priority
        self.rank: tuple[int, int, int] = (0, 0, 0)  # order among running; lower goes first
        self.since = 0  # scheduler clock when it began to wait
        self.preemptions = 0
        self.flying: InFlight | None = None  # the last step it rides in that is not collected
        self.leader: Sequence | None = None  # the choice whose prefill it waits for
        self.key = choice_key(submit.sampling.seed or 0, index)
        self.matcher: Matcher | None = None
        self.writer: Writer | None = None
        penalised = self.sampling.presence_penalty or self.sampling.frequency_penalty
        repeats = self.sampling.repetition_penalty != 1.0
        self.counts: Counts | None = None
        if penalised or repeats:
            self.counts = Counts(set(self.ids) if repeats else set())

    @property
    def generated(self) -> int:
        """Output tokens the host knows."""
        return len(self.ids) - self.prompt

    @property
    def todo(self) -> int:
        """Tokens whose KV is still to be computed."""
        return len(self.ids) + self.pending - self.computed

    def hold(self, pages: list[int]) -> None:
        """Appends pages to the sequence."""
        start = len(self.pages)
        self.pages.extend(pages)
        self.page_table[start : start + len(pages)] = array("i", pages)

    def let_go(self) -> list[int]:
        """Gives up all pages; the caller decides when they return to the pool."""
        pages, self.pages = self.pages, []
        self.computed = self.published = 0
        return pages
