"""The logits processor for transformers' `generate`, over treadle's own matchers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.generation import logits_process

from treadle.backends.torch.mask import apply_mask
from treadle.errors import GrammarError, InvalidRequest
from treadle.grammar import Batch, Compiled, Matcher


class LogitsProcessor(logits_process.LogitsProcessor):
    """Masks the scores of `generate`, call after call, with a matcher a row.

    compiled: one grammar for all rows, or one a prompt (with beams, rows of one prompt are
    adjacent). size: V of the vocabulary. beams: for beam search; rows are followed as they are
    reordered, and a beam that took an illegal token (its score is minus infinity) is left alone.
    A sequence that does not go on by one token begins a new text; `reset` forces that.
    """

    def __init__(
        self, compiled: Compiled | Sequence[Compiled], size: int, *, beams: bool = False
    ) -> None:
        self._compiled = [compiled] if isinstance(compiled, Compiled) else list(compiled)
        if not self._compiled:
            raise InvalidRequest("give at least one grammar", at="compiled")
        self._words = (size + 31) // 32
        self._beams = beams
        self._batch = Batch()
        self.reset()

    def reset(self) -> None:
        """Forgets the text: the next call begins a new one."""
        self._last: Any = None
        self._matchers: list[Matcher | None] = []  # None: a dead beam

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """input_ids [n, T], scores [n, V] on any device → masked scores, the input untouched.

        Raises GrammarError when a row goes on with a token that was not legal, LimitExceeded or
        GrammarError when a matcher fails.
        """
        parents = self._parents(input_ids)
        if parents is None:
            self._matchers = [grammar.matcher() for grammar in self._each(input_ids.shape[0])]
        else:
            self._advance(parents, [int(token) for token in input_ids[:, -1]])
        self._last = input_ids.clone()
        rows = torch.full((len(self._matchers), self._words), -1, dtype=torch.int32)
        live = [i for i, m in enumerate(self._matchers) if m is not None and not m.finished]
        matchers = [m for m in (self._matchers[i] for i in live) if m is not None]
        for position in self._batch.fill(matchers, rows, live):
            error = matchers[position].error
            raise error if error is not None else GrammarError("a matcher failed", reason="stuck")
        masked = scores.clone()
        apply_mask(masked, rows.to(scores.device), live)
        return masked

    def _each(self, rows: int) -> list[Compiled]:
        if rows % len(self._compiled):
            raise InvalidRequest(f"{rows} rows for {len(self._compiled)} grammars", at="input_ids")
        return [c for c in self._compiled for _ in range(rows // len(self._compiled))]

    def _parents(self, input_ids: Any) -> list[int] | None:
        """The row of the last call that each row goes on from; None when a new text begins."""
        last = self._last
        if last is None or input_ids.shape[0] != last.shape[0]:
            return None
        if input_ids.shape[1] != last.shape[1] + 1:
            return None
        before = input_ids[:, :-1]
        if torch.equal(before, last):
            return list(range(last.shape[0]))
        same = (before[:, None] == last[None]).all(-1)  # [n, n]
        if not self._beams or not bool(same.any(-1).all()):
            return None
        return same.int().argmax(-1).tolist()

    def _advance(self, parents: list[int], tokens: list[int]) -> None:
        taken: set[int] = set()
        after: list[Matcher | None] = []
        for parent in parents:
            matcher = self._matchers[parent]
            if matcher is not None and parent in taken:
                matcher = matcher.fork()
            after.append(matcher)  # moves on below: a fork must see its parent unmoved
            taken.add(parent)
        for row, token in enumerate(tokens):
            matcher = after[row]
            if matcher is None or matcher.finished or matcher.accept(token):
                continue  # what follows a stop token is padding
            if not self._beams:
                raise GrammarError(f"token {token} was not legal", at=f"row {row}", reason="stuck")
            after[row] = None
        self._matchers = after
