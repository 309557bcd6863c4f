"""Grammars bound to a tokenizer. Compiling is parsing; masks are computed when they are needed."""

# The objects of this package work on each other's handles.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, overload

from treadle.compat.xgrammar._source import Source, build
from treadle.compat.xgrammar._stored import field, load, store
from treadle.compat.xgrammar.base import XGRObject
from treadle.compat.xgrammar.config import limits
from treadle.compat.xgrammar.exception import DeserializeFormatError, RefusedError
from treadle.compat.xgrammar.grammar import Grammar, Schema
from treadle.compat.xgrammar.structural_tag import StructuralTag, StructuralTagItem
from treadle.compat.xgrammar.tokenizer_info import TokenizerInfo
from treadle.errors import TreadleError
from treadle.grammar import Compiled, Compiler


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """What a CompiledGrammar holds."""

    native: Compiled
    source: Source
    tokens: TokenizerInfo


class CompiledGrammar(XGRObject):
    """A grammar over one tokenizer; made by GrammarCompiler, shared by any number of matchers."""

    @property
    def grammar(self) -> Grammar:
        """The grammar that was compiled."""
        return Grammar._create_from_handle(self._handle.source)

    @property
    def tokenizer_info(self) -> TokenizerInfo:
        """The tokenizer that it was compiled for."""
        return self._handle.tokens

    @property
    def memory_size_bytes(self) -> int:
        """Bytes held by nodes, states and masks, about. Grows as masks are computed."""
        return self._handle.native.memory

    def serialize_json(self) -> str:
        """The grammar and the tokenizer's fingerprint as JSON, in treadle's own format."""
        tokens = self._handle.tokens._handle.vocab.hash
        return store("compiled_grammar", {"source": self._handle.source.recipe, "tokens": tokens})

    @staticmethod
    def deserialize_json(json_str: str, tokenizer_info: TokenizerInfo) -> CompiledGrammar:
        """The compiled grammar of `serialize_json`, for the same tokenizer.

        Raises InvalidJSONError, DeserializeVersionError, DeserializeFormatError.
        """
        fields = load("compiled_grammar", json_str)
        tokens = tokenizer_info._handle.vocab
        if field(fields, "tokens", str) != tokens.hash:
            raise DeserializeFormatError("tokens: compiled for another tokenizer")
        source = build(field(fields, "source", dict))
        return _compiled(Compiler(tokens, limits()), source, tokenizer_info)


class GrammarCompiler(XGRObject):
    """Compiles grammars for one tokenizer and keeps the most recently used ones.

    `max_threads` is accepted and not needed: nothing is computed ahead. `cache_limit_bytes` of -1
    is treadle's own bound, 128 MiB; `enable_dynamic_compilation` (seen in previews of xgrammar) is
    what treadle always does.
    """

    def __init__(
        self,
        tokenizer_info: TokenizerInfo,
        *,
        max_threads: int = 8,
        cache_enabled: bool = True,
        cache_limit_bytes: int = -1,
        **previews: Any,
    ) -> None:
        if not isinstance(tokenizer_info, TokenizerInfo):  # pyright: ignore
            raise ValueError("expected a TokenizerInfo; make one with from_huggingface")
        unknown = previews.keys() - {"enable_dynamic_compilation"}
        if unknown:
            raise TypeError(f"GrammarCompiler has no argument {sorted(unknown)[0]!r}")
        if cache_limit_bytes < -1:
            raise RuntimeError(f"cache_limit_bytes must be -1 or more, got {cache_limit_bytes}")
        budget = limits() if cache_limit_bytes < 0 else limits(cache_limit_bytes)
        self._init_handle(Compiler(tokenizer_info._handle.vocab, budget))
        self._tokens = tokenizer_info
        self._limit = cache_limit_bytes
        self._keep = cache_enabled

    def compile_json_schema(
        self,
        schema: Schema,
        *,
        any_whitespace: bool = True,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        strict_mode: bool = True,
        max_whitespace_cnt: int | None = None,
        any_order: bool = False,
    ) -> CompiledGrammar:
        """See `Grammar.from_json_schema`."""
        return self._compile(
            Grammar.from_json_schema(
                schema,
                any_whitespace=any_whitespace,
                indent=indent,
                separators=separators,
                strict_mode=strict_mode,
                max_whitespace_cnt=max_whitespace_cnt,
                any_order=any_order,
            )
        )

    def compile_builtin_json_grammar(self) -> CompiledGrammar:
        """Any JSON object or array."""
        return self._compile(Grammar.builtin_json_grammar())

    def compile_regex(self, regex: str) -> CompiledGrammar:
        """See `Grammar.from_regex`."""
        return self._compile(Grammar.from_regex(regex))

    def compile_lark(
        self, lark_string: str, *, named_grammars: dict[str, Grammar | str] | None = None
    ) -> CompiledGrammar:
        """See `Grammar.from_lark`."""
        return self._compile(Grammar.from_lark(lark_string, named_grammars=named_grammars))

    @overload
    def compile_structural_tag(
        self, structural_tag: StructuralTag | str | dict[str, Any]
    ) -> CompiledGrammar: ...

    @overload
    def compile_structural_tag(
        self, tags: list[StructuralTagItem], triggers: list[str]
    ) -> CompiledGrammar: ...

    def compile_structural_tag(self, *args: Any, **kwargs: Any) -> CompiledGrammar:
        """See `Grammar.from_structural_tag`."""
        return self._compile(Grammar.from_structural_tag(*args, **kwargs))

    def compile_grammar(
        self, grammar: str | Grammar, *, root_rule_name: str = "root"
    ) -> CompiledGrammar:
        """A Grammar, or EBNF text. Raises ValueError for anything else."""
        if isinstance(grammar, str):
            grammar = Grammar.from_ebnf(grammar, root_rule_name=root_rule_name)
        if not isinstance(grammar, Grammar):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"expected a Grammar or EBNF text, got {grammar!r:.60}")
        return self._compile(grammar)

    def clear_cache(self) -> None:
        """Forgets all kept grammars; those in use stay valid."""
        self._handle.clear()

    def get_cache_size_bytes(self) -> int:
        """Bytes held by the kept grammars, about."""
        return self._handle.memory

    @property
    def cache_limit_bytes(self) -> int:
        """As given: -1 is treadle's own bound."""
        return self._limit

    def _compile(self, grammar: Grammar) -> CompiledGrammar:
        compiled = _compiled(self._handle, grammar._handle, self._tokens)
        if not self._keep:
            self._handle.clear()
        return compiled


def _compiled(compiler: Compiler, source: Source, tokens: TokenizerInfo) -> CompiledGrammar:
    try:
        native = compiler.compile(source.native)
    except TreadleError as error:
        raise RefusedError(error) from error
    return CompiledGrammar._create_from_handle(Bound(native, source, tokens))
