"""Other engines over the vocabulary of the 256 bytes: is a text in the language, what may follow.

A peer that is not installed has no verdicts. None as a verdict = the peer refuses the grammar.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from functools import cache
from typing import Any

import numpy as np

END = 256  # xgrammar's stop token
PEERS = ("llguidance", "xgrammar")


def installed(peer: str) -> bool:
    """Whether the peer can be imported."""
    return importlib.util.find_spec(peer) is not None


class RefusedError(Exception):
    """The peer does not take the grammar."""


class _Llguidance:
    def __init__(self) -> None:
        self.module = importlib.import_module("llguidance")
        self.tokens = self.module.LLTokenizer("byte")
        self.row = np.zeros((self.tokens.vocab_size + 31) // 32, dtype=np.int32)

    def matcher(self, kind: str, source: str) -> Any:
        make = {
            "json_schema": self.module.LLMatcher.grammar_from_json_schema,
            "regex": self.module.LLMatcher.grammar_from_regex,
            "lark": self.module.LLMatcher.grammar_from_lark,
        }.get(kind)
        if make is None:
            raise RefusedError(kind)
        try:
            found = self.module.LLMatcher(self.tokens, make(source), log_level=0)
        except ValueError as error:
            raise RefusedError(str(error)) from None
        if found.is_error():
            raise RefusedError(found.get_error())
        return found

    def accepts(self, matcher: Any, data: bytes) -> bool:
        taken = matcher.deep_copy()
        return taken.try_consume_tokens(list(data)) == len(data) and taken.is_accepting()

    def follows(self, matcher: Any, data: bytes) -> frozenset[int] | None:
        taken = matcher.deep_copy()
        if taken.try_consume_tokens(list(data)) != len(data):
            return None
        taken.unsafe_compute_mask_ptr(self.row.ctypes.data, self.row.nbytes)
        return _set_bits(self.row)


class _Xgrammar:
    def __init__(self) -> None:
        self.module = importlib.import_module("xgrammar")
        pieces = [*(bytes([i]) for i in range(256)), b"</s>"]
        raw = self.module.VocabType.RAW
        info = self.module.TokenizerInfo(pieces, raw, vocab_size=257, stop_token_ids=[END])
        self.compiler = self.module.GrammarCompiler(info, max_threads=1, cache_enabled=False)
        self.rows = self.module.allocate_token_bitmask(1, 257)

    def matcher(self, kind: str, source: str) -> Any:
        try:
            if kind == "json_schema":
                made = self.compiler.compile_json_schema(source, strict_mode=False)
            elif kind == "regex":
                made = self.compiler.compile_regex(source)
            elif kind == "ebnf":
                made = self.compiler.compile_grammar(source)
            elif kind == "tag":
                made = self.compiler.compile_structural_tag(source)
            else:
                raise RefusedError(kind)
        except RuntimeError as error:
            raise RefusedError(str(error)) from None
        return self.module.GrammarMatcher(made)

    def accepts(self, matcher: Any, data: bytes) -> bool:
        matcher.reset()
        return all(matcher.accept_token(byte) for byte in data) and matcher.accept_token(END)

    def follows(self, matcher: Any, data: bytes) -> frozenset[int] | None:
        matcher.reset()
        if not all(matcher.accept_token(byte) for byte in data):
            return None
        matcher.fill_next_token_bitmask(self.rows)
        return _set_bits(self.rows.numpy()[0])


def _set_bits(row: Any) -> frozenset[int]:
    """Bytes among the set bits of int32 [W]."""
    bits = np.unpackbits(np.asarray(row).view(np.uint8), bitorder="little")
    return frozenset(int(i) for i in np.flatnonzero(bits[:256]))


@cache
def peer(name: str) -> Any:
    """The peer's adapter, made once."""
    return {"llguidance": _Llguidance, "xgrammar": _Xgrammar}[name]()


class PeerLanguage:
    """`text in language`, by a peer. Raises RefusedError when it is made."""

    def __init__(self, name: str, kind: str, source: object) -> None:
        self.peer = peer(name)
        text = source if isinstance(source, str) and kind != "json_schema" else json.dumps(source)
        self.matcher = self.peer.matcher(kind, text)

    def __contains__(self, text: str | bytes) -> bool:
        return self.peer.accepts(self.matcher, text.encode() if isinstance(text, str) else text)

    def follows(self, text: str | bytes) -> frozenset[int] | None:
        """The bytes that may come next; None when the text is no beginning."""
        data = text.encode() if isinstance(text, str) else text
        return self.peer.follows(self.matcher, data)
