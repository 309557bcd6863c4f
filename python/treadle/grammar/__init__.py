"""Constrained output: grammars, compilers, matchers and packed token masks over the native core.

A grammar describes a language, a compiler binds it to a vocabulary, a matcher follows one output
and says at every step which tokens keep it completable.
"""

from __future__ import annotations

from treadle.grammar.compiler import Compiled, Compiler, Vocab, decode_vocab
from treadle.grammar.grammar import Grammar, Note
from treadle.grammar.masks import MaskRows, apply_mask, apply_mask_ids, mask_rows
from treadle.grammar.matcher import Batch, Matcher

__all__ = [
    "Batch",
    "Compiled",
    "Compiler",
    "Grammar",
    "MaskRows",
    "Matcher",
    "Note",
    "Vocab",
    "apply_mask",
    "apply_mask_ids",
    "decode_vocab",
    "mask_rows",
]
