"""The masks of a step, filled while its forward pass runs.

Only rows that something constrains get a mask row: a grammar, `min_tokens` or `ignore_eos`. The
last two are mask bits, not a rule of their own in the sampler: end tokens are not drawn until they
may be. Where a grammar is complete nothing but an end token is left, and the grammar wins.
"""

from __future__ import annotations

from array import array
from functools import cached_property
from typing import TYPE_CHECKING

from treadle.errors import GrammarError, TreadleError
from treadle.types import Mask

if TYPE_CHECKING:
    from collections.abc import Sequence as SequenceOf

    from treadle.engine.request import Sequence
    from treadle.grammar import Batch as MatcherBatch
    from treadle.grammar import Matcher

Failures = list[tuple["Sequence", TreadleError]]


def matcher_error(matcher: Matcher) -> TreadleError:
    """Why a matcher filled no mask or took no token."""
    return matcher.error or GrammarError(
        "the token drawn does not continue the output", at="sample", reason="stuck"
    )


class Masks:
    """Owns the mask memory of a loop: [rows, ceil(vocab / 32)] int32, reused every step."""

    def __init__(self, rows: int, vocab: int, end_ids: SequenceOf[int]) -> None:
        self._count, self._vocab = rows, vocab
        self._words = -(-vocab // 32)
        self._ends = tuple(i for i in end_ids if i < vocab)
        # What the rows of memory bar from all tokens, as they stand: most stay from step to step.
        self._without: list[tuple[int, ...] | None] = [None] * rows
        self._at: list[int] = []  # logits rows of the last step's masks, also as an array
        self._rows = array("i")

    def fill(self, rows: SequenceOf[Sequence | None]) -> tuple[Mask | None, Failures]:
        """The mask of a step's living rows, and the sequences whose grammar failed.

        A failed row is left unconstrained: nobody reads what it draws.
        """
        constrained: list[Sequence] = []
        at: list[int] = []
        banned: list[tuple[int, ...]] = []
        matchers: list[Matcher] = []
        for r, seq in enumerate(rows):  # rows with a matcher first, so one call fills them
            if seq is not None and seq.matcher is not None:
                constrained.append(seq)
                at.append(r)
                banned.append(self._banned(seq))
                matchers.append(seq.matcher)
        for r, seq in enumerate(rows):
            if seq is not None and seq.matcher is None and (ends := self._banned(seq)):
                constrained.append(seq)
                at.append(r)
                banned.append(ends)
        if not constrained:
            return None, []
        failures = self._fill(matchers, constrained)
        for i, ends in enumerate(banned):
            if i < len(matchers):
                self._without[i] = None
                _ban(self._row(i), ends)
            elif self._without[i] != ends:
                self._row(i)[:] = self._full
                _ban(self._row(i), ends)
                self._without[i] = ends
        if at != self._at:
            self._at, self._rows = at, array("i", at)
        return Mask(self._first(len(constrained)), self._rows), failures

    def accept(
        self, rows: SequenceOf[Sequence | None], ids: list[int], status: list[int]
    ) -> dict[int, TreadleError]:
        """Moves the matchers of a step's living rows by the tokens drawn; the rows that failed."""
        at: list[int] = []
        matchers: list[Matcher] = []
        for r, seq in enumerate(rows):
            if seq is None or seq.matcher is None or status[r]:
                continue
            if ids[r] not in seq.sampling.stop_token_ids:
                at.append(r)
                matchers.append(seq.matcher)
        if not at:
            return {}
        taken = self._batch.accept(matchers, [ids[r] for r in at])
        return {
            r: matcher_error(matcher)
            for r, matcher, good in zip(at, matchers, taken, strict=True)
            if not good
        }

    @cached_property
    def _batch(self) -> MatcherBatch:
        from treadle.grammar import Batch

        return Batch()

    @cached_property
    def _bits(self) -> memoryview:
        """Bytes of all rows, taken when something is constrained for the first time."""
        return memoryview(bytearray(4 * self._words * self._count))

    @cached_property
    def _full(self) -> array[int]:
        """A row in which every token is legal."""
        words = array("I", [0xFFFFFFFF]) * self._words
        if self._vocab % 32:
            words[-1] = (1 << (self._vocab % 32)) - 1
        return words

    def _first(self, count: int) -> memoryview:
        """The first rows, int32 [count, words]."""
        return self._bits[: 4 * self._words * count].cast("i", (count, self._words))

    def _row(self, i: int) -> memoryview:
        """One row, uint32 [words]."""
        return self._bits[4 * self._words * i : 4 * self._words * (i + 1)].cast("I")

    def _fill(self, matchers: list[Matcher], owners: list[Sequence]) -> Failures:
        if not matchers:
            return []
        failures: Failures = []
        for i in self._batch.fill(matchers, self._first(len(matchers))):
            self._row(i)[:] = self._full
            failures.append((owners[i], matcher_error(matchers[i])))
        return failures

    def _banned(self, seq: Sequence) -> tuple[int, ...]:
        """Tokens that `seq` may not draw yet."""
        sampling = seq.sampling
        if seq.generated < sampling.min_tokens:
            return (*self._ends, *sampling.stop_token_ids)
        return self._ends if sampling.ignore_eos else ()


def _ban(words: memoryview, banned: tuple[int, ...]) -> None:
    if not banned:
        return
    kept = words.tobytes()
    for token in banned:
        words[token >> 5] &= ~(1 << (token & 31))
    if not any(words):
        words.cast("B")[:] = kept
