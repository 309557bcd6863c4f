"""Matchers: one output each, token by token."""

from __future__ import annotations

from collections.abc import Sequence

from treadle import _core
from treadle.errors import TreadleError
from treadle.grammar.masks import Rows
from treadle.grammar.translate import translate


class Matcher:
    """Follows one output through a compiled grammar.

    Every accepted token or text is one step. A budget that runs out, or a state that no token can
    leave (`reason="stuck"`), is raised and sticks to this matcher until `reset` or `rollback`.
    All methods may be called from any thread; none holds the GIL while it works.
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

    def validate_tokens(self, ids: Sequence[int]) -> int:
        """Length of the longest prefix of `ids` that `accept` would take; nothing changes."""
        try:
            return self.core.validate(list(ids))
        except _core.CoreError as error:
            raise translate(error) from None

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

    One matcher's failure never disturbs the others: it sticks to that matcher (`Matcher.error`).
    """

    __slots__ = ()

    def fill(
        self, matchers: Sequence[Matcher], rows: Rows, index: Sequence[int] | None = None
    ) -> list[int]:
        """Fills row `index[i]` (default: i) for matcher i; returns the positions that failed.

        `rows`: int32 [n, W] as in `Matcher.fill`. The row of a failed matcher is all zeros.
        """
        try:
            where = None if index is None else list(index)
            return _core.fill_batch([matcher.core for matcher in matchers], rows, where)
        except _core.CoreError as error:
            raise translate(error) from None

    def accept(self, matchers: Sequence[Matcher], ids: Sequence[int]) -> list[bool]:
        """`accept` for each pair; False for refused tokens and for failed matchers."""
        return _core.accept_batch([matcher.core for matcher in matchers], list(ids))
