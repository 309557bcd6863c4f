"""The logits processor for transformers' `generate`."""

from __future__ import annotations

import torch
from transformers.generation import logits_process

from treadle.compat.xgrammar.compiler import CompiledGrammar
from treadle.compat.xgrammar.matcher import (
    GrammarMatcher,
    allocate_token_bitmask,
    apply_token_bitmask_inplace,
)


class LogitsProcessor(logits_process.LogitsProcessor):
    """Masks the scores of one `generate` call; make a new one for the next call.

    compiled_grammar: one for all rows, or a list with one a row. For reuse and beam search see
    `treadle.compat.transformers`.
    """

    def __init__(self, compiled_grammar: CompiledGrammar | list[CompiledGrammar]) -> None:
        many = isinstance(compiled_grammar, list)
        self.compiled_grammars = compiled_grammar if many else [compiled_grammar]
        self.matchers: list[GrammarMatcher] = []
        self.full_vocab_size = self.compiled_grammars[0].tokenizer_info.vocab_size
        self.token_bitmask: torch.Tensor | None = None
        self.prefilled = False
        self.batch_size = 0

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input_ids: torch.LongTensor, scores: torch.FloatTensor
    ) -> torch.FloatTensor:
        """Takes the token sampled last, then masks: input_ids [n, T], scores [n, V]."""
        if not self.matchers:
            self._begin(input_ids.shape[0])
        if input_ids.shape[0] != self.batch_size:
            raise RuntimeError(f"{input_ids.shape[0]} rows, the call began with {self.batch_size}")
        assert self.token_bitmask is not None
        if self.prefilled:
            self._accept([int(token) for token in input_ids[:, -1]])
        self.prefilled = True
        for i, matcher in enumerate(self.matchers):
            if matcher.is_terminated():
                self.token_bitmask[i] = -1  # what follows the end is padding
            else:
                matcher.fill_next_token_bitmask(self.token_bitmask, i)
        masked = scores if scores.device.type in ("cpu", "cuda") else scores.to("cpu")
        apply_token_bitmask_inplace(masked, self.token_bitmask.to(masked.device))
        return masked.to(scores.device)  # type: ignore[return-value]

    def _begin(self, rows: int) -> None:
        grammars = self.compiled_grammars
        if len(grammars) == 1:
            grammars = self.compiled_grammars = grammars * rows
        if len(grammars) != rows:
            raise RuntimeError(f"{len(grammars)} grammars for {rows} rows")
        self.batch_size = rows
        self.matchers = [GrammarMatcher(grammar) for grammar in grammars]
        self.token_bitmask = allocate_token_bitmask(rows, self.full_vocab_size)

    def _accept(self, tokens: list[int]) -> None:
        for i, (matcher, token) in enumerate(zip(self.matchers, tokens, strict=True)):
            if not matcher.is_terminated() and not matcher.accept_token(token):
                raise RuntimeError(f"row {i}: token {token} is not what the mask allowed")
