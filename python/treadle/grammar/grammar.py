"""Grammars: what the output may be, independent of any vocabulary."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from treadle import _core
from treadle.errors import InvalidRequest
from treadle.grammar.translate import DEFAULT_LIMITS, core_limits, translate
from treadle.limits import GrammarLimits

Order = Literal["any", "declared"]
Escapes = Literal["any", "minimal"]


@dataclass(frozen=True, slots=True)
class Note:
    """Something that was dropped, narrowed or taken as an annotation. `at` is a JSON pointer."""

    at: str
    keyword: str
    text: str


class Grammar:
    """The description of a language over bytes. Immutable.

    `g1 + g2` is one after the other, `g1 | g2` either. Every constructor reads its source at once
    and raises `GrammarError` (with `at`, `keyword`, `reason`) or `LimitExceeded`.
    """

    __slots__ = ("core",)

    def __init__(self, core: _core.Grammar) -> None:
        self.core = core  # used by Compiler

    @staticmethod
    def json_schema(
        schema: dict[str, Any] | bool | str,
        *,
        order: Order = "any",
        whitespace: int = 64,
        escapes: Escapes = "any",
        lenient: bool = False,
        formats: bool = True,
        limits: GrammarLimits = DEFAULT_LIMITS,
        at: str = "",
    ) -> Grammar:
        """JSON texts that satisfy `schema` (a dict, a bool, or JSON text, whose errors have lines).

        `order`: keys in any order, or as declared; either way declared keys occur once, while keys
        that the schema does not name may repeat. `whitespace`: longest optional run, in bytes.
        `escapes`: any spelling of a character, or only the shortest that RFC 8259 allows.
        `lenient`: drop what cannot be enforced and list it in `notes`. `formats`: enforce `format`.
        `at`: prefix of JSON pointers in errors. Source: JSON Schema 2020-12 and older spellings.
        """
        text = schema if isinstance(schema, str) else _dump(schema, at)
        core = core_limits(limits)
        declared, minimal = _declared(order), _minimal(escapes)
        return _made(
            lambda: _core.Grammar.schema(
                text, declared, whitespace, minimal, lenient, formats, at, core
            )
        )

    @staticmethod
    def json(
        *, whitespace: int = 64, escapes: Escapes = "any", limits: GrammarLimits = DEFAULT_LIMITS
    ) -> Grammar:
        """Any JSON value (RFC 8259). Options as in `json_schema`."""
        core, minimal = core_limits(limits), _minimal(escapes)
        return _made(
            lambda: _core.Grammar.json("", False, whitespace, minimal, False, True, "", core)
        )

    @staticmethod
    def json_object(
        *, whitespace: int = 64, escapes: Escapes = "any", limits: GrammarLimits = DEFAULT_LIMITS
    ) -> Grammar:
        """Any JSON object. Options as in `json_schema`."""
        core, minimal = core_limits(limits), _minimal(escapes)
        return _made(
            lambda: _core.Grammar.json_object("", False, whitespace, minimal, False, True, "", core)
        )

    @staticmethod
    def regex(pattern: str, *, limits: GrammarLimits = DEFAULT_LIMITS) -> Grammar:
        """Texts that match `pattern` as a whole. Source: ECMA-262 syntax, Unicode mode."""
        return _made(lambda: _core.Grammar.regex(pattern, core_limits(limits)))

    @staticmethod
    def ebnf(text: str, root: str = "root", *, limits: GrammarLimits = DEFAULT_LIMITS) -> Grammar:
        """Texts derived from the rule `root` of an EBNF (GBNF) grammar."""
        return _made(lambda: _core.Grammar.ebnf(text, root, core_limits(limits)))

    @staticmethod
    def choice(strings: Sequence[str], *, limits: GrammarLimits = DEFAULT_LIMITS) -> Grammar:
        """Exactly one of `strings`."""
        return _made(lambda: _core.Grammar.choice(list(strings), core_limits(limits)))

    @staticmethod
    def tag(tag: dict[str, Any], *, limits: GrammarLimits = DEFAULT_LIMITS) -> Grammar:
        """A structural tag: `{"type": "structural_tag", "format": {...}}` or a bare format."""
        text = _dump(tag, "")
        return _made(lambda: _core.Grammar.tag(text, core_limits(limits)))

    @staticmethod
    def literal(text: str | bytes, *, limits: GrammarLimits = DEFAULT_LIMITS) -> Grammar:
        """This text and nothing else."""
        data = text.encode() if isinstance(text, str) else text
        return _made(lambda: _core.Grammar.literal(data, core_limits(limits)))

    def __add__(self, other: Grammar) -> Grammar:
        return _made(lambda: _core.Grammar.concat([self.core, other.core]))

    def __or__(self, other: Grammar) -> Grammar:
        return _made(lambda: _core.Grammar.any_of([self.core, other.core]))

    @property
    def kind(self) -> str:
        """The source language: json_schema, regex, ebnf, choice, ..."""
        return self.core.kind

    @property
    def notes(self) -> tuple[Note, ...]:
        """What was dropped or narrowed, in source order."""
        return tuple(Note(*note) for note in self.core.notes)

    def __repr__(self) -> str:
        return f"Grammar({self.kind})"


def _made(make: Callable[[], _core.Grammar]) -> Grammar:
    try:
        return Grammar(make())
    except _core.CoreError as error:
        raise translate(error) from None


def _declared(order: str) -> bool:
    if order not in ("any", "declared"):
        raise InvalidRequest(f"got {order!r}", at="order", hint='give "any" or "declared"')
    return order == "declared"


def _minimal(escapes: str) -> bool:
    if escapes not in ("any", "minimal"):
        raise InvalidRequest(f"got {escapes!r}", at="escapes", hint='give "any" or "minimal"')
    return escapes == "minimal"


def _dump(value: object, at: str) -> str:
    # The core limits depth by itself; Python's encoder signals it by RecursionError.
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"not a JSON value: {error}", at=at or "/") from None
