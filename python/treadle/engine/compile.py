"""Constraints to compiled grammars, cached by content.

A request has one constraint, or tools, or both: with `tool_choice` "auto" the output is then
either tool calls or text that meets the constraint.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from treadle.errors import GrammarError, InvalidRequest
from treadle.limits import Limits
from treadle.types import Constraint, Generate

if TYPE_CHECKING:
    from treadle.engine.load import Loaded
    from treadle.grammar import Compiled, Compiler, Grammar

# The grammar package is imported when a request is constrained for the first time.

# Enough to indent seven levels by four; a longer run is a model that has lost its way.
_WHITESPACE = 32
_KEPT = 128  # compiled grammars kept for reuse


class Constraints:
    """Compiles the constraints of requests for one vocabulary. Thread-safe."""

    def __init__(self, loaded: Loaded, limits: Limits) -> None:
        self._limits = limits.grammar
        self._loaded = loaded
        self._compiler: Compiler | None = None
        self._kept: OrderedDict[str, tuple[Compiled, tuple[str, ...]]] = OrderedDict()
        self._lock = threading.Lock()
        self._building = threading.Lock()

    def compiler(self) -> Compiler:
        """Of the model's vocabulary, whose trie is built when first asked for: free text needs
        none, and it takes a twentieth of a second."""
        with self._building:
            if self._compiler is None:
                from treadle.grammar import Compiler, Vocab

                vocab = Vocab(self._loaded.table, self._loaded.exe.vocab)
                self._compiler = Compiler(vocab, self._limits)
            return self._compiler

    def of(self, request: Generate) -> tuple[Compiled | None, tuple[str, ...]]:
        """The compiled grammar of a request (None = unconstrained) and its notes.

        Raises GrammarError or LimitExceeded (`at` = JSON pointer or line:column below the field),
        InvalidRequest.
        """
        tag = self._tag(request)
        constraint = request.constraint
        if tag is None and constraint is None:
            return None, ()
        key = _key(tag, constraint)
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        grammar = None if constraint is None else self._grammar(constraint)
        if tag is not None:
            from treadle.grammar import Grammar

            calls = Grammar.tag(tag, limits=self._limits)
            grammar = calls if grammar is None else calls | grammar
        assert grammar is not None
        found = (
            self.compiler().compile(grammar),
            tuple(f"{note.at}: {note.text}" for note in grammar.notes),
        )
        with self._lock:
            self._kept[key] = found
            held = sum(compiled.memory for compiled, _ in self._kept.values())
            while len(self._kept) > 1 and (
                len(self._kept) > _KEPT or held > self._limits.cache_bytes
            ):
                _, (dropped, _) = self._kept.popitem(last=False)
                held -= dropped.memory
        return found

    def _tag(self, request: Generate) -> dict[str, Any] | None:
        choice = request.tool_choice
        if isinstance(choice, tuple) and choice[1] not in {tool.name for tool in request.tools}:
            raise InvalidRequest(f'no tool is called "{choice[1]}"', at="tool_choice")
        if choice == "required" and not request.tools:
            raise InvalidRequest("needs tools", at="tool_choice")
        if not request.tools or choice == "none":
            return None
        if request.constraint is not None:
            if choice != "auto":
                raise InvalidRequest(
                    "a call is required, so the output cannot also meet another constraint",
                    at="tool_choice",
                    hint='use "auto", or drop the response format',
                )
            choice = "required"  # the free text of "auto" is what the constraint describes
        return self._loaded.tool_format.tag(request.tools, choice, request.parallel_tool_calls)

    def _grammar(self, constraint: Constraint) -> Grammar:
        from treadle.grammar import Grammar

        kind, value, at = constraint.kind, constraint.value, constraint.at
        if kind == "json_schema":  # declared order: forced keys, and what people expect to read
            return Grammar.json_schema(
                value,
                order="declared",
                whitespace=_WHITESPACE,
                escapes="minimal",
                numbers="plain",
                limits=self._limits,
                at=at,
            )
        if kind == "json_object":
            return Grammar.json_object(
                whitespace=_WHITESPACE, escapes="minimal", numbers="plain", limits=self._limits
            )
        if kind == "choice":
            return Grammar.choice(_texts(value, at), limits=self._limits)
        if not isinstance(value, str):
            raise InvalidRequest("expected a string", at=at or kind)
        build = Grammar.regex if kind == "regex" else Grammar.ebnf
        try:
            return build(value, limits=self._limits)
        except (
            GrammarError
        ) as error:  # the place in the text goes into the message, the field stays
            raise GrammarError(
                f"{error.at}: {error.message}" if error.at else error.message,
                at=at or kind,
                hint=error.hint,
                kind=error.kind,
                keyword=error.keyword,
                reason=error.reason,
            ) from None


def _key(tag: dict[str, Any] | None, constraint: Constraint | None) -> str:
    """What tells constraints apart."""
    import json  # most requests have neither

    told = constraint and [constraint.kind, constraint.value, constraint.at]
    try:
        return json.dumps([tag, told], default=_unusable)
    except (ValueError, RecursionError) as error:
        at = constraint.at if constraint else "tools"
        raise InvalidRequest(
            f"is no JSON value ({error})", at=at or "schema", hint="no cycles, less nesting"
        ) from None


def _texts(value: object, at: str) -> list[str]:
    items = cast("list[object]", value) if isinstance(value, (list, tuple)) else []
    if not items or not all(isinstance(item, str) for item in items):
        raise InvalidRequest("expected a list of one or more strings", at=at or "choice")
    return cast("list[str]", list(items))


def _unusable(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, Any]", value))
    raise InvalidRequest(
        f"a {type(value).__name__} cannot stand in a JSON Schema",
        at="schema",
        hint="use JSON types",
    )
