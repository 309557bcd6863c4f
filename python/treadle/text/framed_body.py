"""One tool call whose begin holds the name in a slot, while it is read.

Such a call is `begin`, with `{name}` and perhaps a counting `{index}` in it, then the arguments as
JSON or in one of the styles of `styles.toml`. Same interface as `CallBody`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from treadle.text.call_body import SPACE, CallEvent
from treadle.text.json_scan import ValueScan
from treadle.text.styles import Allowed, Incomplete, Malformed, styles

if TYPE_CHECKING:
    from treadle.text.formats import CallForm

_SLOT = re.compile(r"(\{name\}|\{index\})")
_NAME_CHARS = 256  # a longer name is no name
_NAME_ENDS = '<>"{}\n\r\t '


class FramedBody:
    """One call, from its trigger or its begin to the end of its arguments."""

    def __init__(self, form: CallForm, first: bool, allowed: Callable[[str, str], Allowed]) -> None:
        self._form = form
        self._wrapper = form.wrapper_begin if first else ""
        self._allowed = allowed
        self._style = styles().get(form.style)
        self._held = ""
        self._name = ""
        self._scan: ValueScan | None = None
        self._members = 0
        self._events: list[CallEvent] = []
        self.named = False
        self.done = False
        self.failed = False

    def push(self, piece: str) -> tuple[int, list[CallEvent]]:
        """(characters consumed, events). Negative when the call ended earlier: see `rest`."""
        self._events = []
        before = len(self._held)
        self._held += piece
        whole = len(self._held)
        try:
            if not self.named:
                self._opening()
            if self.named and self._style is None:
                self._json()
            elif self.named:
                while not self.done:
                    self._member()
        except Incomplete:
            pass
        except Malformed:
            self.failed = not self.named
            self.done = self.named
            if self.named:
                self._close()
        if self.done:
            return whole - before - len(self._held), self._events
        return len(piece), self._events

    @property
    def rest(self) -> str:
        """What was read and belongs to whatever follows the call."""
        return self._held

    def _opening(self) -> None:
        """The wrapper's begin, if this call comes first in it, and one of the begins."""
        at = 0
        if self._wrapper:
            at = _literal(self._held, 0, self._wrapper)
        waiting = False
        for begin in self._form.begins:
            try:
                end, name = _slots(self._held, _skip(self._held, at, begin), begin)
            except Incomplete:
                waiting = True
            except Malformed:
                continue
            else:
                self._name = name
                self._held = self._held[end:]
                self.named = True
                self._events.append(CallEvent("call", name))
                return
        raise Incomplete if waiting else Malformed

    def _json(self) -> None:
        if self._scan is None:
            self._held = self._held.lstrip(SPACE)
            if not self._held:
                raise Incomplete
            if self._held[0] != "{":
                raise Malformed
            self._scan = ValueScan()
        count = self._scan.push(self._held)
        self._events.append(CallEvent("arguments", self._held[:count]))
        self._members += count > 0
        self._held = self._held[count:]
        if self._scan.done:
            self._finish()

    def _member(self) -> None:
        """The next member as a piece of JSON, or the end of the call."""
        assert self._style is not None
        text = self._held.lstrip(SPACE)
        end_mark = self._form.end.strip(SPACE)
        if text.startswith(end_mark):
            raise Malformed  # the end of the call, which is the reader's
        if end_mark.startswith(text) or self._style.begin.startswith(text):
            raise Incomplete  # even a whole begin: the end of the call may begin like it
        if not text.startswith(self._style.begin):
            raise Malformed
        end, key, value = self._style.read(text, 0, lambda key: self._allowed(self._name, key))
        start = ", " if self._members else "{"
        piece = f"{start}{json.dumps(key, ensure_ascii=False)}: {value}"
        self._events.append(CallEvent("arguments", piece))
        self._members += 1
        self._held = text[end:]

    def _close(self) -> None:
        if self._style is not None:
            self._events.append(CallEvent("arguments", "}" if self._members else "{}"))
        elif not self._members:
            self._events.append(CallEvent("arguments", "{}"))
        self._finish()

    def _finish(self) -> None:
        self._events.append(CallEvent("end", ""))
        self.done = True


def _literal(text: str, at: int, mark: str) -> int:
    if text.startswith(mark, at):
        return at + len(mark)
    raise Incomplete if mark.startswith(text[at:]) else Malformed


def _skip(text: str, at: int, begin: str) -> int:
    """White space before a begin that does not start with any."""
    while not begin.startswith(tuple(SPACE)) and at < len(text) and text[at] in SPACE:
        at += 1
    return at


def _slots(text: str, at: int, begin: str) -> tuple[int, str]:
    """(end, name) of a begin with slots."""
    parts = [part for part in _SLOT.split(begin) if part]
    name = ""
    for i, part in enumerate(parts):
        if not _SLOT.fullmatch(part):
            at = _literal(text, at, part)
            continue
        after = parts[i + 1] if i + 1 < len(parts) else ""
        end = at
        while end < len(text) and not (
            text.startswith(after, end) if after else text[end] in _NAME_ENDS
        ):
            end += 1
        if end - at > _NAME_CHARS:
            raise Malformed
        if end == len(text):
            raise Incomplete
        if end == at or (part == "{index}" and not text[at:end].isdecimal()):
            raise Malformed
        if part == "{name}":
            name = text[at:end]
        at = end
    return at, name
