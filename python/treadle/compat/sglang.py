"""treadle as a grammar backend of SGLang.

    from treadle.compat import sglang
    sglang.register()                       # then start the server with --grammar-backend treadle

The host's two base classes are looked up when a server starts, compared with the interface this was
written for, and subclassed.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Sequence
from typing import Any, cast

import torch

import treadle.compat.xgrammar as xgr
from treadle.compat._host import check_members
from treadle.compat.vllm import modern_tag
from treadle.errors import GrammarError, Unsupported

_HOST = "sglang.srt.constrained.base_grammar_backend"
ANY_JSON = "$$ANY$$"  # what SGLang asks for when any JSON will do
_OBJECT = frozenset(
    {
        "accept_token",
        "rollback",
        "is_terminated",
        "allocate_vocab_mask",
        "fill_vocab_mask",
        "fill_vocab_mask_batched",
        "reset_vocab_mask",
        "move_vocab_mask",
        "apply_vocab_mask",
        "copy",
        "finished",
        "try_jump_forward",
        "jump_forward_str_state",
        "jump_and_retokenize",
        "maybe_init_reasoning",
        "cache_memory_bytes",
        "requires_vocab_mask",
    }
)
_BACKEND = frozenset(
    {
        "dispatch_fallback",
        "dispatch_json",
        "dispatch_regex",
        "dispatch_ebnf",
        "dispatch_structural_tag",
        "get_cached_or_future_value",
        "set_cache",
        "reset",
        "enable_strict_thinking",
        "is_support_token_filter",
        "set_token_filter",
        "init_strict_reasoning_grammar",
        "initialize_vocab_mask_buffer",
    }
)
_ARGUMENTS = frozenset(
    {"constrained_json_disable_any_whitespace", "constrained_json_whitespace_pattern"}
)


class GrammarObject:
    """The matcher of one request; a mixin before SGLang's BaseGrammarObject."""

    def __init__(self, compiled: xgr.CompiledGrammar, stops: list[int] | None) -> None:
        super().__init__()
        self._compiled = compiled
        self._stops = stops
        self.matcher = xgr.GrammarMatcher(compiled, override_stop_tokens=stops)

    def accept_token(self, token: int) -> None:
        """Takes one token. Raises ValueError when it is not legal; after the end it is ignored."""
        if self.matcher.is_terminated():
            return
        if not self.matcher.accept_token(token):
            raise ValueError(f"token {token} was not legal")

    def rollback(self, k: int) -> None:
        """Takes back k tokens."""
        self.matcher.rollback(k)

    def is_terminated(self) -> bool:
        """Whether a stop token was accepted."""
        return self.matcher.is_terminated()

    def allocate_vocab_mask(self, vocab_size: int, batch_size: int, device: Any) -> torch.Tensor:
        """int32 [batch_size, W] on the CPU, with every token legal."""
        return xgr.allocate_token_bitmask(batch_size, vocab_size)

    def fill_vocab_mask(self, vocab_mask: torch.Tensor, idx: int) -> None:
        """Writes row `idx`; after the end of the text nothing is masked."""
        if self.matcher.is_terminated():
            vocab_mask[idx] = -1
        else:
            self.matcher.fill_next_token_bitmask(vocab_mask, idx)

    @staticmethod
    def fill_vocab_mask_batched(entries: Sequence[Any], vocab_mask: torch.Tensor) -> None:
        """Writes the row of each entry (`row`, `grammar`); other rows stay."""
        live = [e for e in entries if isinstance(e.grammar, GrammarObject)]
        live = [e for e in live if not e.grammar.is_terminated()]
        chosen = {id(entry) for entry in live}
        for entry in entries:
            if id(entry) not in chosen:
                entry.grammar.fill_vocab_mask(vocab_mask, entry.row)
        matchers = [entry.grammar.matcher for entry in live]
        rows = [entry.row for entry in live]
        xgr.BatchGrammarMatcher().batch_fill_next_token_bitmask(matchers, vocab_mask, rows)

    @staticmethod
    def reset_vocab_mask(vocab_mask: torch.Tensor) -> None:
        """Makes every token legal."""
        xgr.reset_token_bitmask(vocab_mask)

    @staticmethod
    def move_vocab_mask(vocab_mask: torch.Tensor, device: Any) -> torch.Tensor:
        """The mask on the device of the logits."""
        return vocab_mask.to(device, non_blocking=True)

    @staticmethod
    def apply_vocab_mask(logits: torch.Tensor, vocab_mask: torch.Tensor) -> None:
        """Minus infinity for illegal tokens, in place."""
        xgr.apply_token_bitmask_inplace(logits, vocab_mask)

    def copy(self) -> Any:
        """The same grammar at its start."""
        return type(self)(self._compiled, self._stops)

    def cache_memory_bytes(self) -> int:
        """What keeping the grammar costs, about."""
        return self._compiled.memory_size_bytes

    def try_jump_forward(self, tokenizer: Any) -> tuple[list[int], str] | None:
        """Forced text, as the helper of `jump_forward_str_state`; None if there is none."""
        if self.matcher.is_terminated():
            return None
        text = self.matcher.find_jump_forward_string()
        return ([], text) if text else None

    def jump_forward_str_state(self, helper: tuple[list[int], str]) -> tuple[str, int]:
        """The forced text; there is no state to name."""
        return helper[1], -1

    def jump_and_retokenize(
        self, old_output_ids: list[int], new_output_ids: list[int], next_state: int
    ) -> None:
        """Moves from one tokenisation of the output to another that begins like it."""
        pairs = zip(old_output_ids, new_output_ids, strict=False)
        same = next((i for i, (old, new) in enumerate(pairs) if old != new), None)
        if same is None:
            same = min(len(old_output_ids), len(new_output_ids))
        self.matcher.rollback(len(old_output_ids) - same)
        for token in new_output_ids[same:]:
            self.accept_token(token)


class GrammarBackend:
    """Compiles the grammars of one server; a mixin before SGLang's BaseGrammarBackend."""

    object_type: type[GrammarObject] = GrammarObject
    invalid_type: Any = None

    def __init__(
        self, server_args: Any, tokenizer: Any, vocab_size: int, eos_token_ids: Any = None
    ) -> None:
        super().__init__()
        self._spaces = not getattr(server_args, "constrained_json_disable_any_whitespace", False)
        info = xgr.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocab_size)
        self.compiler = xgr.GrammarCompiler(info)
        self._stops = [int(token) for token in eos_token_ids] if eos_token_ids else None

    def dispatch_json(self, key_string: str) -> Any:
        """A schema, or ANY_JSON."""
        if key_string == ANY_JSON:
            return self._made(self.compiler.compile_builtin_json_grammar)
        return self._made(
            self.compiler.compile_json_schema,
            key_string,
            any_whitespace=self._spaces,
            strict_mode=False,
        )

    def dispatch_regex(self, key_string: str) -> Any:
        """A pattern."""
        return self._made(self.compiler.compile_regex, key_string)

    def dispatch_ebnf(self, key_string: str) -> Any:
        """An EBNF grammar."""
        return self._made(self.compiler.compile_grammar, key_string)

    def dispatch_structural_tag(self, key_string: str) -> Any:
        """A structural tag, in today's form or the old one."""
        return self._made(lambda: self.compiler.compile_structural_tag(modern_tag(key_string)))

    def reset(self) -> None:
        """Forgets compiled grammars."""
        inherited = getattr(super(), "reset", None)
        if inherited is not None:
            inherited()
        self.compiler.clear_cache()

    def _made(self, compile_: Any, *args: Any, **options: Any) -> Any:
        """An object for a request, or what tells the host that its grammar was refused."""
        try:
            return self.object_type(compile_(*args, **options), self._stops)
        except (RuntimeError, ValueError) as error:
            if self.invalid_type is None:
                raise
            return self.invalid_type(str(error))


def factory(
    server_args: Any, tokenizer: Any, vocab_size: int, eos_token_ids: Collection[int] | None = None
) -> Any:
    """The backend of a server, for SGLang's registry.

    Raises Unsupported for an interface that differs from the known one, or for arguments that this
    adapter cannot keep.
    """
    _check_arguments(server_args)
    host: Any = importlib.import_module(_HOST)
    check_members(host.BaseGrammarObject, _OBJECT, GrammarObject, "BaseGrammarObject")
    # Settings of the host's own cache are values, not methods, and bear no constraint.
    check_members(host.BaseGrammarBackend, _BACKEND, GrammarBackend, "BaseGrammarBackend")
    made_object = type("TreadleGrammar", (GrammarObject, host.BaseGrammarObject), {})
    invalid = getattr(host, "InvalidGrammarObject", None)
    names = {"object_type": made_object, "invalid_type": invalid}
    backend = type("TreadleGrammarBackend", (GrammarBackend, host.BaseGrammarBackend), names)
    return backend(server_args, tokenizer, vocab_size, eos_token_ids)


def register(name: str = "treadle") -> None:
    """Puts the factory into SGLang's registry. Raises ImportError without SGLang."""
    host: Any = importlib.import_module(_HOST)
    add: Any = getattr(host, "register_grammar_backend", None)
    if add is None:
        raise Unsupported("this SGLang has no register_grammar_backend", at="sglang")
    add(name, factory)


def _check_arguments(server_args: Any) -> None:
    given = cast(dict[str, Any], vars(server_args))
    for name, value in given.items():
        if name.startswith("constrained_") and name not in _ARGUMENTS and value:
            raise Unsupported(f"{name}={value!r} is not known to this adapter", at=name)
    if getattr(server_args, "constrained_json_whitespace_pattern", None):
        raise Unsupported(
            "whitespace patterns cannot be enforced",
            at="constrained_json_whitespace_pattern",
            hint="leave it out; runs of whitespace are bounded",
        )
    if getattr(server_args, "reasoning_parser", None):
        raise GrammarError(
            "reasoning before the grammar is not this backend's",
            at="reasoning_parser",
            kind="structural_tag",
            reason="unsupported",
            hint="make the reasoning a part of a structural tag",
        )
