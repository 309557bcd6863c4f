"""Integer expressions of a plan: `ceil(T, 64) * 9`. The twin of `web/src/expr.ts`.

Grammar: numbers, names, `+ - * /` (division rounds down), parentheses, `ceil(a, b)`, `min(a, b)`,
`max(a, b)`. Values stay whole and below 2^53, which both sides hold exactly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from treadle.errors import ModelFormatError

NAMES = ("T", "S", "R", "L", "P", "E")
"""Run-time sizes: tokens, sequences, wanted rows or draws, pages a sequence, pool, entries."""

MOST = 1 << 53
LONGEST = 256
DEEPEST = 16

_TOKEN = re.compile(r"\s*(\d+|[A-Za-z]\w*|[-+*/(),])")
_CALLS = ("ceil", "min", "max")


def evaluate(text: str, sizes: Mapping[str, int]) -> int:
    """The value. Raises ModelFormatError for anything outside the grammar or its range."""
    words = _tokens(text)
    parser = _Parser(text, words, sizes)
    value = parser.sum(0)
    if parser.at != len(words):
        raise _bad(text, f"{words[parser.at]!r} is not expected")
    return value


@lru_cache(maxsize=4096)
def _tokens(text: str) -> tuple[str, ...]:
    if len(text) > LONGEST:
        raise _bad(text[:40], f"longer than {LONGEST} characters")
    out: list[str] = []
    at = 0
    while at < len(text.rstrip()):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _bad(text, f"character {text[at]!r} is not expected")
        out.append(found.group(1))
        at = found.end()
    return tuple(out)


class _Parser:
    """Recursive descent of bounded depth; evaluates as it reads."""

    def __init__(self, text: str, words: tuple[str, ...], sizes: Mapping[str, int]) -> None:
        self.text, self.words, self.sizes, self.at = text, words, sizes, 0

    def sum(self, depth: int) -> int:
        if depth > DEEPEST:
            raise _bad(self.text, f"nested deeper than {DEEPEST}")
        value = self.product(depth)
        while self.peek() in ("+", "-"):
            plus = self.take() == "+"
            right = self.product(depth)
            value = self.within(value + right if plus else value - right)
        return value

    def product(self, depth: int) -> int:
        value = self.atom(depth)
        while self.peek() in ("*", "/"):
            times = self.take() == "*"
            right = self.atom(depth)
            value = self.within(value * right) if times else self.divide(value, right)
        return value

    def atom(self, depth: int) -> int:
        word = self.take()
        if word.isdigit():
            return self.within(int(word))
        if word == "(":
            value = self.sum(depth + 1)
            self.expect(")")
            return value
        if word in _CALLS:
            self.expect("(")
            left = self.sum(depth + 1)
            self.expect(",")
            right = self.sum(depth + 1)
            self.expect(")")
            if word == "ceil":
                return self.divide(left + right - 1, right)
            return min(left, right) if word == "min" else max(left, right)
        if word in self.sizes:
            return self.within(self.sizes[word])
        raise _bad(self.text, f"{word!r} is not a number or a size")

    def divide(self, left: int, right: int) -> int:
        if right <= 0 or left < 0:
            raise _bad(self.text, f"{left} / {right} is not defined")
        return left // right

    def within(self, value: int) -> int:
        if not -MOST < value < MOST:
            raise _bad(self.text, "a value is beyond 2^53")
        return value

    def peek(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def take(self) -> str:
        word = self.peek()
        self.at += 1
        if not word:
            raise _bad(self.text, "it ends too soon")
        return word

    def expect(self, word: str) -> None:
        if self.take() != word:
            raise _bad(self.text, f"{word!r} is expected")


def _bad(text: str, message: str) -> ModelFormatError:
    return ModelFormatError(message, at=f"expression {text!r}", hint="export the bundle again")
