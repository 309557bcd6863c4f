"""Constrained-decoding engines behind one small interface: treadle's own API, and its peers.

A peer that is not installed is left out, and the result says so. All engines work in one thread and
in modes that claim the same language: any whitespace, objects open unless the schema closes them.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np

ENGINES = ("treadle", "xgrammar", "llguidance")


class RefusedError(Exception):
    """The engine refused the grammar."""


class Treadle:
    """The native API. Keys in any order, which is what a schema means."""

    def __init__(self, folder: Path) -> None:
        from treadle.grammar import Compiler, Grammar, Vocab, mask_rows
        from treadle.text import Tokenizer

        table = Tokenizer.from_json(folder / "tokenizer.json").table
        self.grammar = Grammar
        self.compiler = Compiler(Vocab(table))
        self.rows = mask_rows(1, len(table.data))
        self.bits: Any = np.asarray(memoryview(self.rows))[0]  # int32 [ceil(V / 32)]

    def schema(self, text: str) -> Any:
        """Compiles a JSON Schema."""
        return self._compile(lambda: self.grammar.json_schema(text))

    def tools(self, tag: dict[str, Any]) -> Any:
        """Compiles a structural tag of tool calls in free text."""
        return self._compile(lambda: self.grammar.tag(tag))

    def _compile(self, make: Any) -> Any:
        from treadle.errors import TreadleError

        try:
            return self.compiler.compile(make())
        except TreadleError as error:
            raise RefusedError(str(error)[:300]) from None

    def matcher(self, compiled: Any) -> Any:
        """A matcher at the start of a text."""
        return compiled.matcher()

    def fill(self, matcher: Any) -> None:
        """Writes the mask into `bits`."""
        matcher.fill(self.rows)

    def accept(self, matcher: Any, token: int) -> bool:
        """Takes a token."""
        return matcher.accept(token)

    def may_end(self, matcher: Any) -> bool:
        """Whether the text may end here."""
        return matcher.accepting

    def error(self, matcher: Any) -> str | None:
        """What sticks to the matcher."""
        return None if matcher.error is None else str(matcher.error)[:200]

    def size(self, compiled: Any) -> int | None:
        """Bytes of one compiled grammar, by the engine's own count."""
        return compiled.memory


class Xgrammar:
    """xgrammar through its public API; strict_mode=False is its mode that follows JSON Schema."""

    def __init__(self, folder: Path) -> None:
        import xgrammar
        from transformers import AutoTokenizer

        self.module = xgrammar
        tokenizer = AutoTokenizer.from_pretrained(folder)
        width = max(tokenizer.get_vocab().values()) + 1
        info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=width)
        self.compiler = xgrammar.GrammarCompiler(info, max_threads=1)
        self.rows = xgrammar.allocate_token_bitmask(1, width)
        self.bits: Any = self.rows.numpy()[0]
        self.eos: int = tokenizer.eos_token_id

    def schema(self, text: str) -> Any:
        """Compiles a JSON Schema."""
        return self._compile(
            lambda: self.compiler.compile_json_schema(text, any_whitespace=True, strict_mode=False)
        )

    def tools(self, tag: dict[str, Any]) -> Any:
        """Compiles a structural tag."""
        return self._compile(lambda: self.compiler.compile_structural_tag(json.dumps(tag)))

    def _compile(self, make: Any) -> Any:
        try:
            return make()
        except Exception as error:  # RuntimeError and the binding's own
            raise RefusedError(repr(error)[:300]) from None

    def matcher(self, compiled: Any) -> Any:
        """A matcher at the start of a text."""
        return self.module.GrammarMatcher(compiled)

    def fill(self, matcher: Any) -> None:
        """Writes the mask into `bits`."""
        matcher.fill_next_token_bitmask(self.rows)

    def accept(self, matcher: Any, token: int) -> bool:
        """Takes a token."""
        return matcher.accept_token(token)

    def may_end(self, matcher: Any) -> bool:
        """Whether the mask just filled allows the end token."""
        return allowed(self.bits, self.eos)

    def error(self, matcher: Any) -> str | None:
        """It has no errors that stick."""
        return None

    def size(self, compiled: Any) -> int | None:
        """Bytes of one compiled grammar, by the engine's own count."""
        return compiled.memory_size_bytes


class Llguidance:
    """llguidance through LLMatcher; its compile makes a matcher, further ones are copies."""

    def __init__(self, folder: Path) -> None:
        import llguidance
        import llguidance.hf
        from transformers import AutoTokenizer

        self.module = llguidance
        self.tokens = llguidance.hf.from_tokenizer(AutoTokenizer.from_pretrained(folder))
        self.bits: Any = np.zeros((self.tokens.vocab_size + 31) // 32, dtype=np.int32)
        self.place: int = self.bits.ctypes.data
        self.bytes: int = self.bits.nbytes

    def schema(self, text: str) -> Any:
        """Compiles a JSON Schema."""
        return self._compile(self.module.LLMatcher.grammar_from_json_schema(text))

    def tools(self, tag: dict[str, Any]) -> Any:
        """Compiles tool calls in free text."""
        form = tag["format"]
        tags = [
            self.module.StructTag(
                trigger=next(t for t in form["triggers"] if one["begin"].startswith(t)),
                begin=one["begin"],
                grammar=one["content"]["json_schema"],
                end=one["end"],
            )
            for one in form["tags"]
        ]
        return self._compile(self.module.StructTag.to_grammar(tags, assume_special=False))

    def _compile(self, grammar: str) -> Any:
        made = self.module.LLMatcher(self.tokens, grammar, log_level=0)
        if made.is_error():
            raise RefusedError(made.get_error().split("\n")[0][:300])
        return made

    def matcher(self, compiled: Any) -> Any:
        """A matcher at the start of a text."""
        return compiled.deep_copy()

    def fill(self, matcher: Any) -> None:
        """Writes the mask into `bits`."""
        matcher.unsafe_compute_mask_ptr(self.place, self.bytes)

    def accept(self, matcher: Any, token: int) -> bool:
        """Takes a token."""
        return matcher.consume_token(token)

    def may_end(self, matcher: Any) -> bool:
        """Whether the text may end here."""
        return matcher.is_accepting()

    def error(self, matcher: Any) -> str | None:
        """What sticks to the matcher."""
        return matcher.get_error().split("\n")[0][:200] if matcher.is_error() else None

    def size(self, compiled: Any) -> int | None:
        """It does not say."""
        return None


def allowed(bits: Any, token: int) -> bool:
    """Bit of `token` in a packed mask row, int32 [W]."""
    return bool((int(bits[token >> 5]) >> (token & 31)) & 1)


def version(name: str) -> str | None:
    """The installed version; None when the engine is not there."""
    if name == "treadle":
        return "this tree"
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def make(name: str, folder: Path) -> Any:
    """The engine `name` over the tokenizer in `folder` (tokenizer.json and its config)."""
    return {"treadle": Treadle, "xgrammar": Xgrammar, "llguidance": Llguidance}[name](folder)
