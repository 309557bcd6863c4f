"""treadle as a structured-output backend of vLLM (v1): one backend, one grammar a request.

    backend = Backend(vllm_config, tokenizer, vocab_size)

`check_host()` compares vLLM's classes with the interface this was written for, and makes these
classes pass its instance checks.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Collection
from typing import Any, cast

import torch

import treadle.compat.xgrammar as xgr
from treadle.compat._host import check_fields, check_members
from treadle.compat.xgrammar.grammar import choice_grammar
from treadle.errors import Unsupported

KINDS = frozenset({"JSON", "JSON_OBJECT", "REGEX", "GRAMMAR", "CHOICE", "STRUCTURAL_TAG"})
# Fields of vllm_config.structured_outputs_config, and of a request's structured outputs.
CONFIG = frozenset(
    {
        "backend",
        "disable_fallback",
        "disable_any_whitespace",
        "disable_additional_properties",
        "reasoning_parser",
        "reasoning_parser_plugin",
        "enable_in_reasoning",
    }
)
PARAMS = frozenset(
    {
        "json",
        "regex",
        "choice",
        "grammar",
        "json_object",
        "structural_tag",
        "disable_fallback",
        "disable_any_whitespace",
        "disable_additional_properties",
    }
)
_BACKEND = frozenset(
    {
        "vllm_config",
        "tokenizer",
        "vocab_size",
        "compile_grammar",
        "allocate_token_bitmask",
        "destroy",
    }
)
_GRAMMAR = frozenset(
    {
        "accept_tokens",
        "validate_tokens",
        "rollback",
        "fill_bitmask",
        "is_terminated",
        "reset",
        "find_jump_string",
    }
)


class RequestGrammar:
    """The matcher of one request."""

    def __init__(self, matcher: xgr.GrammarMatcher) -> None:
        self.matcher = matcher
        self.num_processed_tokens = 0

    def accept_tokens(self, request_id: str, tokens: list[int]) -> bool:
        """Takes tokens in turn, up to the end of the text; False at the first illegal one."""
        for token in tokens:
            if self.matcher.is_terminated():
                break
            if not self.matcher.accept_token(token):
                return False
            self.num_processed_tokens += 1
        return True

    def validate_tokens(self, tokens: list[int]) -> list[int]:
        """The longest prefix that would be accepted; nothing changes."""
        return tokens[: self.matcher._handle.validate_tokens(tokens)]  # pyright: ignore[reportPrivateUsage]

    def rollback(self, num_tokens: int) -> None:
        """Takes back tokens. Raises RuntimeError if there were fewer."""
        self.matcher.rollback(num_tokens)
        self.num_processed_tokens -= num_tokens

    def fill_bitmask(self, bitmask: torch.Tensor, batch_index: int) -> None:
        """Writes row `batch_index` of int32 [n, W]; after the end of the text nothing is masked."""
        if self.matcher.is_terminated():
            bitmask[batch_index] = -1
        else:
            self.matcher.fill_next_token_bitmask(bitmask, batch_index)

    def find_jump_string(self) -> str | None:
        """The text that every completion goes on with, if there is one."""
        return None if self.is_terminated() else self.matcher.find_jump_forward_string() or None

    def is_terminated(self) -> bool:
        """Whether a stop token was accepted."""
        return self.matcher.is_terminated()

    def reset(self) -> None:
        """Back to the start of the text."""
        self.matcher.reset()
        self.num_processed_tokens = 0


class Backend:
    """Compiles the requests of one engine. Reasoning regions stay vLLM's.

    Raises Unsupported for a configuration field that is not known and not at its default.
    """

    def __init__(self, vllm_config: Any, tokenizer: Any, vocab_size: int) -> None:
        config = vllm_config.structured_outputs_config
        check_fields(config, CONFIG, "structured_outputs_config")
        self.vllm_config = vllm_config
        self.tokenizer = tokenizer
        self.vocab_size = vocab_size
        self._spaces = not getattr(config, "disable_any_whitespace", False)
        self._closed = bool(getattr(config, "disable_additional_properties", False))
        info = xgr.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocab_size)
        self.compiler = xgr.GrammarCompiler(info)

    def compile_grammar(
        self, request_type: Any, grammar_spec: str, stop_token_ids: Collection[int] | None = None
    ) -> RequestGrammar:
        """Raises RuntimeError for a source that is refused, Unsupported for an unknown type."""
        compiled = self._compiled(request_type.name, grammar_spec)
        stops = list(stop_token_ids) if stop_token_ids else None
        return RequestGrammar(xgr.GrammarMatcher(compiled, override_stop_tokens=stops))

    def _compiled(self, kind: str, spec: str) -> xgr.CompiledGrammar:
        compiler = self.compiler
        if kind in ("JSON", "JSON_OBJECT"):
            return compiler.compile_json_schema(
                spec if kind == "JSON" else '{"type": "object"}',
                any_whitespace=self._spaces,
                strict_mode=self._closed,
            )
        if kind == "REGEX":
            return compiler.compile_regex(spec)
        if kind == "GRAMMAR":
            return compiler.compile_grammar(spec) if "::=" in spec else compiler.compile_lark(spec)
        if kind == "CHOICE":
            return compiler.compile_grammar(choice_grammar(json.loads(spec)))
        if kind == "STRUCTURAL_TAG":
            return compiler.compile_structural_tag(modern_tag(spec))
        raise Unsupported(f"request type {kind!r} is not known", at="request_type")

    def allocate_token_bitmask(self, max_num_seqs: int) -> torch.Tensor:
        """int32 [max_num_seqs, W] on the CPU."""
        return xgr.allocate_token_bitmask(max_num_seqs, self.vocab_size)

    def destroy(self) -> None:
        """Forgets compiled grammars; those of running requests stay valid."""
        self.compiler.clear_cache()


def modern_tag(spec: str) -> str | xgr.StructuralTag:
    """A structural tag in today's form; the old one has `structures` and `triggers`."""
    tag: Any = json.loads(spec)
    if not isinstance(tag, dict) or "structures" not in tag:
        return spec
    old = cast(dict[str, Any], tag)
    items = [xgr.StructuralTagItem.model_validate(item) for item in old["structures"]]
    return xgr.StructuralTag.from_legacy_structural_tag(items, old["triggers"])


def check_params(params: Any) -> None:
    """Refuses a request's structured outputs with a field that this adapter would drop."""
    check_fields(params, PARAMS, "structured_outputs")


def check_host() -> None:
    """Compares the installed vLLM with the interface this was written for.

    Raises Unsupported, naming what is new; ImportError without vLLM.
    """
    host: Any = importlib.import_module("vllm.v1.structured_output.backend_types")
    unknown = {option.name for option in host.StructuredOutputOptions} - KINDS
    if unknown:
        raise Unsupported(f"vLLM has request type {sorted(unknown)[0]!r}", at="request_type")
    check_members(host.StructuredOutputBackend, _BACKEND, Backend, "StructuredOutputBackend")
    check_members(host.StructuredOutputGrammar, _GRAMMAR, RequestGrammar, "StructuredOutputGrammar")
    host.StructuredOutputBackend.register(Backend)
    host.StructuredOutputGrammar.register(RequestGrammar)
