"""Argument styles: members of a call's arguments that are not written as JSON, read and written.

The grammar core has the same table (`cpp/grammar/front/styles.cc`); tests hold the two together.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

SPACE = " \t\r\n"
_DEPTH = 100  # nesting of arrays and objects that is followed
_KEY_CHARS = 1_000  # a longer key is no key
_DECODER = json.JSONDecoder()

# Whether the schema of a key allows a string, and anything else.
Allowed = tuple[bool, bool]
ANY: Allowed = (True, True)


class Incomplete(Exception):
    """The text ends inside the member."""


class Malformed(Exception):
    """The text is no member."""


@dataclass(frozen=True, slots=True)
class Style:
    """One row of `styles.toml`. `line` stands around a value and `gap` after a member."""

    begin: str
    key_end: str
    close: str
    value_begin: str = ""
    types: tuple[str, ...] = ()
    type_end: str = ""
    item_begin: str = ""
    item_end: str = ""
    line: str = ""
    gap: str = ""

    def write(self, arguments: Mapping[str, Any]) -> str:
        """All members, as the model would write them."""
        return "".join(self._member(key, value) for key, value in arguments.items())

    def _member(self, key: str, value: Any) -> str:
        head = self.begin + key + self.key_end + self.value_begin + self._type(value)
        close = self.close.replace("{key}", key)
        return head + self.line + self._value(value) + self.line + close + self.gap

    def _type(self, value: Any) -> str:
        return self.types[_kind(value)] + self.type_end if self.types else ""

    def _value(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        if self.item_begin and isinstance(value, dict):
            return self.write(cast("dict[str, Any]", value))
        if self.item_begin and isinstance(value, list):
            items = cast("list[Any]", value)
            parts = [
                self.item_begin + self._type(v) + self._value(v) + self.item_end for v in items
            ]
            return "".join(parts)
        return json.dumps(value, ensure_ascii=False)

    def read(self, text: str, at: int, allowed: Callable[[str], Allowed]) -> tuple[int, str, str]:
        """(end, key, value as JSON text) of the member that begins at `at`.

        Raises Incomplete when more text is needed, Malformed when no member begins here.
        """
        at = _expect(text, at, self.begin)
        end = text.find(self.key_end, at)
        if end < 0 or end - at > _KEY_CHARS:
            raise Malformed if len(text) - at > _KEY_CHARS else Incomplete
        key = text[at:end]
        at = end + len(self.key_end)
        if self.value_begin:
            at = _expect(text, _skip(text, at), self.value_begin)
        end, value = self._read(text, at, self.close.replace("{key}", key), allowed(key), 0)
        return end, key, value

    def _read(
        self, text: str, at: int, close: str, allowed: Allowed, depth: int
    ) -> tuple[int, str]:
        """A value from its type on, and its close."""
        if depth > _DEPTH:
            raise Malformed
        kind = ""
        if self.types:
            end = text.find(self.type_end, at)
            if end < 0:
                raise Malformed if len(text) - at > _KEY_CHARS else Incomplete
            kind = text[at:end]
            at = end + len(self.type_end)
            allowed = (True, False) if kind == self.types[0] else (False, True)
        if self.item_begin and (not self.types or kind in self.types[4:]):
            nested = self._nested(text, at, close, kind, depth)
            if nested is not None:
                return nested
        if not allowed[0]:
            found = _json(text, at, close)
            if found is not None:
                return found
        end = text.find(close, at)
        if end < 0:
            raise Incomplete
        return end + len(close), self._text(text[at:end], allowed)

    def _nested(
        self, text: str, at: int, close: str, kind: str, depth: int
    ) -> tuple[int, str] | None:
        """Items or members up to `close`; None if there are none."""
        items: list[str] = []
        members: list[str] = []
        while True:
            at_next = _skip(text, at)
            if (items or members or kind) and _starts(text, at_next, close):
                listed = items or (self.types and kind == self.types[4])
                joined = f"[{', '.join(items)}]" if listed else "{" + ", ".join(members) + "}"
                return at_next + len(close), joined
            if not members and _starts(text, at_next, self.item_begin):
                start = at_next + len(self.item_begin)
                at, value = self._read(text, start, self.item_end, ANY, depth + 1)
                items.append(value)
            elif not items and _starts(text, at_next, self.begin):
                start = at_next + len(self.begin)
                end = text.find(self.key_end, start)
                if end < 0:
                    raise Incomplete
                key = text[start:end]
                shut = self.close.replace("{key}", key)
                if not members and not kind and text.startswith("/", start):
                    return None  # the close itself, of an empty text
                at, value = self._read(text, end + len(self.key_end), shut, ANY, depth + 1)
                members.append(f"{json.dumps(key, ensure_ascii=False)}: {value}")
            elif items or members or kind:
                raise Malformed
            else:
                return None

    def _text(self, raw: str, allowed: Allowed) -> str:
        """The JSON for raw text: a string, or another value if that is what the schema wants."""
        if allowed[1]:
            try:
                value = json.loads(raw)
            except (ValueError, RecursionError):
                value = ""
            if not isinstance(value, str):
                return raw.strip(SPACE)
        if self.line:
            raw = raw.removeprefix(self.line).removesuffix(self.line)
        return json.dumps(raw, ensure_ascii=False)


@cache
def styles() -> dict[str, Style]:
    """Every style by name, `json` excepted."""
    rows = tomllib.loads(Path(__file__).with_name("styles.toml").read_text("utf-8"))
    return {name: _row(row) for name, row in rows.items()}


def _row(row: dict[str, Any]) -> Style:
    types = tuple(str(word) for word in row.pop("types", ()))
    return Style(types=types, **row)


def allowed_by(parameters: Mapping[str, Any], key: str) -> Allowed:
    """What the schema of a call's arguments allows for one key, as far as it says so plainly."""
    properties = parameters.get("properties")
    schema = cast("Mapping[str, Any]", properties).get(key) if _is_map(properties) else None
    return _allowed(schema, 0) if _is_map(schema) else ANY


def _allowed(schema: Any, depth: int) -> Allowed:
    if not _is_map(schema) or depth > 8:
        return ANY
    told = cast("Mapping[str, Any]", schema)
    kinds = told.get("type")
    if isinstance(kinds, str):
        return kinds == "string", kinds != "string"
    if isinstance(kinds, list):
        names = cast("list[Any]", kinds)
        return "string" in names, any(name != "string" for name in names)
    values = [told["const"]] if "const" in told else told.get("enum")
    if isinstance(values, list):
        listed = cast("list[Any]", values)
        texts = [isinstance(value, str) for value in listed]
        return any(texts), not all(texts)
    for word in ("anyOf", "oneOf"):
        parts = told.get(word)
        if isinstance(parts, list) and parts:
            found = [_allowed(part, depth + 1) for part in cast("list[Any]", parts)]
            return any(f[0] for f in found), any(f[1] for f in found)
    return ANY


def _is_map(value: object) -> bool:
    return isinstance(value, Mapping)


def _kind(value: Any) -> int:
    """The place of a value's type in `Style.types`."""
    if isinstance(value, str):
        return 0
    if value is None:
        return 1
    if isinstance(value, bool):
        return 2
    if isinstance(value, list):
        return 4
    return 5 if isinstance(value, dict) else 3


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in SPACE:
        at += 1
    return at


def _starts(text: str, at: int, mark: str) -> bool:
    """Whether `mark` stands here. Raises Incomplete when the text ends inside it."""
    if text.startswith(mark, at):
        return True
    if mark.startswith(text[at:]):
        raise Incomplete
    return False


def _expect(text: str, at: int, mark: str) -> int:
    if not _starts(text, at, mark):
        raise Malformed
    return at + len(mark)


def _json(text: str, at: int, close: str) -> tuple[int, str] | None:
    """A JSON value and the close after it; None if something else stands here."""
    start = _skip(text, at)
    try:
        _, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        if close not in text[at:]:
            raise Incomplete from None
        return None
    after = _skip(text, end)
    if text.startswith(close, after):
        return after + len(close), text[start:end]
    if close.startswith(text[after:]) or close not in text[at:]:
        raise Incomplete
    return None
