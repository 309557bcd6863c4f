"""Helpers for tests: bitmasks as booleans, and grammar passes that change no language."""

from __future__ import annotations

import torch

from treadle.compat.xgrammar.grammar import Grammar

bitmask_dtype = torch.int32


def bool_mask_to_bitmask(bool_mask: torch.Tensor) -> torch.Tensor:
    """bool [n, V] → int32 [n, ceil(V / 32)], bit t % 32 of word t / 32."""
    n, size = bool_mask.shape
    padded = torch.nn.functional.pad(bool_mask.to(torch.int64), (0, -size % 32))
    weights = torch.ones(32, dtype=torch.int64, device=bool_mask.device) << torch.arange(
        32, device=bool_mask.device
    )
    words = (padded.view(n, -1, 32) * weights).sum(-1)
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(bitmask_dtype)


def bitmask_to_bool_mask(bit_mask: torch.Tensor, vocab_size: int | None = None) -> torch.Tensor:
    """int32 [n, W] → bool [n, V]; V is 32 * W unless `vocab_size` says less."""
    places = torch.arange(32, dtype=torch.int32, device=bit_mask.device)
    bits = ((bit_mask[..., None] >> places) & 1).bool().flatten(-2)
    return bits if vocab_size is None else bits[..., :vocab_size]


class GrammarFunctor:
    """xgrammar's grammar passes. treadle's grammars are normal as they are made: each returns its
    argument."""

    @staticmethod
    def structure_normalizer(grammar: Grammar) -> Grammar:
        """The grammar itself."""
        return grammar

    @staticmethod
    def rule_inliner(grammar: Grammar) -> Grammar:
        """The grammar itself."""
        return grammar

    @staticmethod
    def byte_string_fuser(grammar: Grammar) -> Grammar:
        """The grammar itself."""
        return grammar

    @staticmethod
    def dead_code_eliminator(grammar: Grammar) -> Grammar:
        """The grammar itself."""
        return grammar

    @staticmethod
    def lookahead_assertion_analyzer(grammar: Grammar) -> Grammar:
        """The grammar itself."""
        return grammar

    @staticmethod
    def grammar_optimizer(grammar: Grammar) -> Grammar:
        """The grammar itself."""
        return grammar

    @staticmethod
    def fsm_builder(grammar: Grammar) -> Grammar:
        """The grammar itself."""
        return grammar

    @staticmethod
    def repetition_normalizer(grammar: Grammar) -> Grammar:
        """The grammar itself."""
        return grammar
