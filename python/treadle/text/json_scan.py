"""Reading JSON that arrives in pieces, only as far as tool calls need it."""

from __future__ import annotations

from typing import Literal

_SPACE = " \t\r\n"


class ValueScan:
    """Finds the end of one JSON value in text that arrives in pieces.

    `push` returns how many characters of the piece belong to the value; `done` says that it is
    complete. A number or literal ends at the first character that cannot belong to it, so it is
    complete only when that character has been seen. The value's grammar is not checked.
    """

    __slots__ = ("_depth", "_escaped", "_kind", "done")

    def __init__(self) -> None:
        self._kind: Literal["", "text", "nested", "bare"] = ""
        self._depth = 0
        self._escaped = False
        self.done = False

    def push(self, piece: str) -> int:
        """Length of the part of `piece` that belongs to the value; the first piece begins it."""
        for i, char in enumerate(piece):
            if self._kind == "":
                self._begin(char)
            elif self._kind == "text" or (self._kind == "nested" and self._depth < 0):
                self._in_text(char)
            elif self._kind == "nested":
                self._in_nested(char)
            elif char in ",}]" or char in _SPACE:
                self.done = True
                return i
            if self.done:
                return i + 1
        return len(piece)

    def _begin(self, char: str) -> None:
        if char == '"':
            self._kind = "text"
        elif char in "{[":
            self._kind, self._depth = "nested", 1
        else:
            self._kind = "bare"

    def _in_text(self, char: str) -> None:
        """Inside a string; a negative depth marks one inside an object or array."""
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == '"':
            if self._kind == "text":
                self.done = True
            else:
                self._depth = -self._depth

    def _in_nested(self, char: str) -> None:
        if char == '"':
            self._depth = -self._depth
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1
            self.done = self._depth == 0
