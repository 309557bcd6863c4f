"""Matchers: one output each, token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from treadle import _core
from treadle.errors import InvalidRequest, TreadleError
from treadle.grammar.masks import Rows
from treadle.grammar.translate import translate


class Matcher:
    """Follows one output through a compiled grammar.

    Every accepted token or text is one step. A budget that runs out, or a state that no token can
    leave (`reason="stuck"`), is raised and sticks to this matcher until `reset` or `rollback`.
    No method holds the GIL while it works. One matcher has one user at a time; matchers of the same
    grammar may be used by different threads.
    """

    __slots__ = ("core",)

    def __init__(self, core: _core.Matcher) -> None:
        self.core = core

    def accept(self, token: int) -> bool:
        """Takes one token. False, and nothing changes, when it is not legal here."""
        try:
            return self.core.accept(token)
        except _core.CoreError as error:
            raise translate(error) from None

    def accept_bytes(self, text: bytes) -> bool:
        """Takes a text as one step. False, and nothing changes, when it is not legal here."""
        try:
            return self.core.accept_bytes(text)
        except _core.CoreError as error:
            raise translate(error) from None

    def fill(self, rows: Rows, index: int = 0) -> bool:
        """Writes the legal next tokens into row `index`; returns whether anything is masked.

        `rows`: int32 [n, W], W >= ceil(V / 32), bit t % 32 of word t / 32 = token t is legal. Stop
        tokens are legal exactly when the text may end; after one, nothing is.
        """
        try:
            return self.core.fill(rows, index)
        except _core.CoreError as error:
            raise translate(error) from None

    def rollback(self, steps: int) -> None:
        """Takes back the last `steps` steps. Raises `InvalidRequest` if there were fewer."""
        try:
            self.core.rollback(steps)
        except _core.CoreError as error:
            raise translate(error) from None

    def fork(self) -> Matcher:
        """A second matcher at the same place; both go on by themselves."""
        return Matcher(self.core.fork())

    def reset(self) -> None:
        """Back to the start of the text."""
        self.core.reset()

    def forced(self) -> bytes:
        """The bytes that every completion goes on with (64 KiB at most)."""
        try:
            return self.core.forced()
        except _core.CoreError as error:
            raise translate(error) from None

    def ff_tokens(
        self, encode: Callable[[bytes], Sequence[int]], recent: Sequence[int] = ()
    ) -> list[int]:
        """Tokens that every completion goes on with, as the tokenizer itself would choose them.

        `encode` gives the ids of a text (without special tokens); it gets the text of `recent`, the
        last few ids of the output, and the forced bytes, cut to whole characters. The result can be
        appended and accepted without asking the model. It is empty where nothing is forced, where
        the tokenizer would have joined the forced text with `recent`, or where the first forced
        token could still become a longer one.
        """
        forced = self.forced().decode("utf-8", "ignore").encode()
        if not forced:
            return []
        before = [self.core.token_bytes(token) for token in recent]
        ids = list(encode(b"".join(before) + forced))
        if ids[: len(recent)] != list(recent):
            return []
        return ids[len(recent) : len(recent) + self.canonical(forced, ids[len(recent) :])]

    def canonical(self, forced: bytes, ids: Sequence[int]) -> int:
        """How many of `ids` (which spell `forced`) stay right whatever comes after `forced`.

        The rest begins at the first token from which a legal token could run past `forced`.
        """
        try:
            return self.core.canonical(forced, list(ids))
        except _core.CoreError as error:
            raise translate(error) from None

    def fill_tree(
        self,
        child: Any,
        sibling: Any,
        ids: Any,
        rows: Rows,
        time_limit: float | None = None,
        temperatures: Any = None,
    ) -> bool:
        """Fills row i for node i of a draft tree; False when `time_limit` (seconds) ran out.

        `child`, `sibling`, `ids`: first child, next sibling (-1: none) and token of each node, as
        lists or int64 [n]; node 0 is the token accepted last, whatever its id. Rows of refused
        nodes and of what hangs below them are zeros. `temperatures` (float32 [n], writable) gets
        one a node, -1 where no rule sets any. The matcher stays where it is. Raises
        `InvalidRequest` for what is no tree.
        """
        try:
            return self.core.fill_tree(child, sibling, ids, rows, time_limit, temperatures)
        except _core.CoreError as error:
            raise translate(error) from None

    def validate_tokens(self, ids: Sequence[int]) -> int:
        """Length of the longest prefix of `ids` that `accept` would take; nothing changes."""
        try:
            return self.core.validate(list(ids))
        except _core.CoreError as error:
            raise translate(error) from None

    def captures(self, longest: bool = True) -> list[tuple[str, bytes]]:
        """What the text has matched of rules with a capture: (name, bytes), by where they end.

        `longest`: of each occurrence the longest text, in readings that are still possible; else
        every end that any reading has come to. Read off the accepted text when asked for.
        """
        try:
            return self.core.captures(longest)
        except _core.CoreError as error:
            raise translate(error) from None

    @property
    def temperature(self) -> float | None:
        """That of the innermost rule that sets one and that the next token is in, if any."""
        return self.core.temperature

    @property
    def accepting(self) -> bool:
        """Whether the text may end here."""
        return self.core.accepting

    @property
    def finished(self) -> bool:
        """Whether a stop token was accepted."""
        return self.core.finished

    @property
    def steps(self) -> int:
        """Steps taken, and so the most that `rollback` takes back."""
        return self.core.steps

    @property
    def error(self) -> TreadleError | None:
        """What sticks to this matcher, if anything."""
        error = self.core.error
        return None if error is None else translate(error)


class Batch:
    """Calls for many matchers at once, with the GIL released in between.

    Masks that are known are copied at once; the others are computed by up to `threads` threads
    (default: half of the cores, 8 at most). One matcher's failure never disturbs the others: it
    sticks to that matcher (`Matcher.error`). A batch may be used by several threads, a matcher by
    one of them at a time.
    """

    __slots__ = ("core",)

    def __init__(self, threads: int | None = None) -> None:
        if threads is not None and not 1 <= threads <= 1024:
            raise InvalidRequest(f"{threads} is outside 1 to 1024", at="threads")
        self.core = _core.Batch(threads or 0)

    def fill(
        self, matchers: Sequence[Matcher], rows: Rows, index: Sequence[int] | None = None
    ) -> list[int]:
        """Fills row `index[i]` (default: i) for matcher i; returns the positions that failed.

        `rows`: int32 [n, W] as in `Matcher.fill`. The row of a failed matcher is all zeros.
        """
        try:
            where = None if index is None else list(index)
            return self.core.fill([matcher.core for matcher in matchers], rows, where)
        except _core.CoreError as error:
            raise translate(error) from None

    def accept(self, matchers: Sequence[Matcher], ids: Sequence[int]) -> list[bool]:
        """`accept` for each pair; False for refused tokens and for failed matchers."""
        return self.core.accept([matcher.core for matcher in matchers], list(ids))

    def mask_ids(self, matchers: Sequence[Matcher], out: Any) -> list[int]:
        """Writes the id of each matcher's mask to `out` (int32 [n], writable, on the CPU).

        Equal ids >= 0 of one compiler are equal rows, for ever, so a row that a device keeps under
        its id need not be sent again. -1: nothing is masked. -2: the mask has not been computed yet
        or the matcher failed; these positions are returned, and `fill` serves them.
        """
        return self.core.mask_ids([matcher.core for matcher in matchers], out)
