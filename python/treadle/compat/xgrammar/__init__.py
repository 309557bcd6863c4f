"""The Python interface of xgrammar 0.2.8 over treadle's core: change the import and nothing else.

What differs on purpose is listed in `docs/xgrammar.md`. Needs torch and the extra
`compat` (pydantic, transformers).
"""

from __future__ import annotations

from treadle.compat.xgrammar import exception, structural_tag, testing
from treadle.compat.xgrammar.builtin_structural_tag import (
    get_builtin_structural_tag,
    get_model_structural_tag,
    normalize_tool_choice,
    register_model_structural_tag,
)
from treadle.compat.xgrammar.compiler import CompiledGrammar, GrammarCompiler
from treadle.compat.xgrammar.config import (
    get_max_recursion_depth,
    get_serialization_version,
    max_recursion_depth,
    set_max_recursion_depth,
)
from treadle.compat.xgrammar.contrib import hf
from treadle.compat.xgrammar.exception import (
    DeserializeFormatError,
    DeserializeVersionError,
    InvalidJSONError,
    InvalidStructuralTagError,
)
from treadle.compat.xgrammar.grammar import Grammar
from treadle.compat.xgrammar.matcher import (
    BatchGrammarMatcher,
    GrammarMatcher,
    allocate_token_bitmask,
    apply_token_bitmask_inplace,
    bitmask_dtype,
    get_bitmask_shape,
    reset_token_bitmask,
)
from treadle.compat.xgrammar.structural_tag import StructuralTag, StructuralTagItem
from treadle.compat.xgrammar.tokenizer_info import TokenizerInfo, VocabType
from treadle.version import __version__ as __version__

__all__ = [
    "BatchGrammarMatcher",
    "CompiledGrammar",
    "DeserializeFormatError",
    "DeserializeVersionError",
    "Grammar",
    "GrammarCompiler",
    "GrammarMatcher",
    "InvalidJSONError",
    "InvalidStructuralTagError",
    "StructuralTag",
    "StructuralTagItem",
    "TokenizerInfo",
    "VocabType",
    "allocate_token_bitmask",
    "apply_token_bitmask_inplace",
    "bitmask_dtype",
    "exception",
    "get_bitmask_shape",
    "get_builtin_structural_tag",
    "get_max_recursion_depth",
    "get_model_structural_tag",
    "get_serialization_version",
    "hf",
    "max_recursion_depth",
    "normalize_tool_choice",
    "register_model_structural_tag",
    "reset_token_bitmask",
    "set_max_recursion_depth",
    "structural_tag",
    "testing",
]
