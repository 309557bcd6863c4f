"""Grammars: what the output may be, independent of any vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from treadle import _core
from treadle.grammar.schema import SchemaOptions, Spelling, core_options, dump, with_drafts
from treadle.grammar.translate import core_limits, translate

if TYPE_CHECKING:
    from treadle.limits import GrammarLimits


class Note(NamedTuple):
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
        limits: GrammarLimits | None = None,
        **options: Unpack[SchemaOptions],
    ) -> Grammar:
        """JSON texts that satisfy `schema` (a dict, a bool, or JSON text, whose errors have lines).

        Options: order, whitespace, indent, separators, escapes, numbers, lenient, formats, closed,
        resources, at; see `SchemaOptions`.
        Source: JSON Schema 2020-12 and the spellings of older drafts.
        """
        text = schema if isinstance(schema, str) else dump(schema, options.get("at", ""))
        if options.get("lenient"):  # which drops a reference that leads nowhere
            core = with_drafts(text, options) or core_options(**options)
            return _made(lambda: _core.Grammar.schema(text, core, core_limits(limits)))
        try:
            return Grammar(_core.Grammar.schema(text, core_options(**options), core_limits(limits)))
        except _core.CoreError as error:
            # Hardly any schema refers to a meta-schema: the others are not searched for it.
            core = with_drafts(text, options)
            if core is None:
                raise translate(error) from None
        return _made(lambda: _core.Grammar.schema(text, core, core_limits(limits)))

    @staticmethod
    def json(*, limits: GrammarLimits | None = None, **spelling: Unpack[Spelling]) -> Grammar:
        """Any JSON value (RFC 8259). Options: those of `Spelling`."""
        core = core_options(**spelling)
        return _made(lambda: _core.Grammar.json("", core, core_limits(limits)))

    @staticmethod
    def json_object(
        *, limits: GrammarLimits | None = None, **spelling: Unpack[Spelling]
    ) -> Grammar:
        """Any JSON object. Options: those of `Spelling`."""
        core = core_options(**spelling)
        return _made(lambda: _core.Grammar.json_object("", core, core_limits(limits)))

    @staticmethod
    def regex(pattern: str, *, limits: GrammarLimits | None = None) -> Grammar:
        """Texts that match `pattern` as a whole. Source: ECMA-262 syntax, Unicode mode."""
        return _made(lambda: _core.Grammar.regex(pattern, core_limits(limits)))

    @staticmethod
    def ebnf(text: str, root: str = "root", *, limits: GrammarLimits | None = None) -> Grammar:
        """Texts derived from the rule `root` of an EBNF (GBNF) grammar."""
        return _made(lambda: _core.Grammar.ebnf(text, root, core_limits(limits)))

    @staticmethod
    def lark(
        text: str,
        start: str = "start",
        *,
        grammars: Mapping[str, str | dict[str, Any]] | None = None,
        limits: GrammarLimits | None = None,
    ) -> Grammar:
        """Texts derived from the rule `start` of a Lark grammar; terminals match in place.

        `grammars` are what `@name` refers to: Lark texts, whose first rule is `start`, or JSON
        Schemas. Source: the syntax of lark 1.3 and of llguidance's extensions.
        """
        named: list[str] = []
        for name, grammar in (grammars or {}).items():
            lark = grammar if isinstance(grammar, str) else f"start: %json {dump(grammar, '')}"
            named += [name, lark]
        return _made(lambda: _core.Grammar.lark(text, start, named, core_limits(limits)))

    @staticmethod
    def choice(strings: Sequence[str], *, limits: GrammarLimits | None = None) -> Grammar:
        """Exactly one of `strings`."""
        return _made(lambda: _core.Grammar.choice(list(strings), core_limits(limits)))

    @staticmethod
    def tag(tag: dict[str, Any], *, limits: GrammarLimits | None = None) -> Grammar:
        """A structural tag: `{"type": "structural_tag", "format": {...}}` or a bare format."""
        text = dump(tag, "")
        return _made(lambda: _core.Grammar.tag(text, core_limits(limits)))

    @staticmethod
    def literal(text: str | bytes, *, limits: GrammarLimits | None = None) -> Grammar:
        """This text and nothing else."""
        data = text.encode() if isinstance(text, str) else text
        return _made(lambda: _core.Grammar.literal(data, core_limits(limits)))

    def dumps(self) -> str:
        """The grammar as versioned JSON, for `Grammar.loads`."""
        return self.core.dump()

    @staticmethod
    def loads(text: str, *, limits: GrammarLimits | None = None) -> Grammar:
        """The grammar of `dumps`. Raises `GrammarError` with reason `format` for another text."""
        return _made(lambda: _core.Grammar.load(text, core_limits(limits)))

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

    def __str__(self) -> str:
        """EBNF that parses back to the same language, with the root rule `root`.

        JSON values have no such text: a grammar with some is only named, as by `repr`.
        """
        try:
            return self.core.ebnf_text()
        except _core.CoreError:
            return repr(self)

    def __repr__(self) -> str:
        return f"Grammar({self.kind})"


def _made(make: Callable[[], _core.Grammar]) -> Grammar:
    try:
        return Grammar(make())
    except _core.CoreError as error:
        raise translate(error) from None
