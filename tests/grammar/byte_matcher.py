"""Whole-text matching through the engine, over a vocabulary of the 256 bytes and one stop token."""

from __future__ import annotations

from treadle.grammar import Compiler, Grammar, Vocab
from treadle.types import TokenKind, TokenTable

_TABLE = TokenTable(
    data=(*(bytes([i]) for i in range(256)), b"<stop>"),
    kinds=(TokenKind.NORMAL,) * 256 + (TokenKind.CONTROL,),
    stop_ids=(256,),
)
_COMPILER = Compiler(Vocab(_TABLE))


class Language:
    """The texts of a grammar: `text in language`."""

    def __init__(self, grammar: Grammar) -> None:
        self._matcher = _COMPILER.compile(grammar).matcher()

    def __contains__(self, text: str | bytes) -> bool:
        data = text.encode() if isinstance(text, str) else text
        self._matcher.reset()
        return self._matcher.accept_bytes(data) and self._matcher.accepting

    def begins(self, text: str) -> bool:
        """Whether some text of the language begins with this one."""
        return self.begins_with(text.encode())

    def begins_with(self, data: bytes) -> bool:
        """The same for bytes, which may end inside a character."""
        self._matcher.reset()
        return self._matcher.accept_bytes(data)
