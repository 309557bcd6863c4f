"""One tool call while it is read: from its trigger to the end of its object."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, NamedTuple

from treadle.text.json_scan import ValueScan

if TYPE_CHECKING:
    from treadle.text.formats import CallForm

EventKind = Literal["text", "reasoning", "call", "arguments", "end"]
SPACE = " \t\r\n"
_NAME_CHARS = 256  # a bare name longer than this is no name


class CallEvent(NamedTuple):
    """text, reasoning: a piece of it. call: a call begins, `value` = name. arguments: a piece of
    the argument JSON, exactly as the model wrote it. end: the call is over (`value` empty)."""

    kind: EventKind
    value: str


class CallBody:
    """One call, from its trigger or its opening brace to the end of its object."""

    def __init__(self, form: CallForm, first: bool) -> None:
        self._form = form
        self._first = first  # the trigger stands before it
        self._head: str = ""
        self._key: str | None = None
        self._text = ""  # of the key or value being read, unless it is streamed
        self._scan: ValueScan | None = None
        self._early = ""  # arguments that came before the name
        self._arguments = False
        self._streams = False
        self._events: list[CallEvent] = []
        self._want: Literal["open", "key", "colon", "value", "comma"] = "open"
        self.named = False
        self.done = False
        self.failed = False

    def push(self, piece: str) -> tuple[int, list[CallEvent]]:
        """(characters consumed, events). Stops consuming when done or failed."""
        self._events = []
        used = 0
        while used < len(piece) and not (self.done or self.failed):
            used += self._advance(piece[used:])
        return used, self._events

    @property
    def rest(self) -> str:
        """Nothing: this body takes no more than it consumes."""
        return ""

    def _advance(self, piece: str) -> int:
        if self._scan is not None:
            return self._value(piece)
        if self._want == "open":
            return self._opening(piece)
        char = piece[0]
        if char in SPACE:
            return 1
        if self._form.body == "name":  # the bare argument object
            return self._start("arguments")
        if self._want in ("key", "value"):
            if self._want == "key" and char == "}":
                self._close()
                return 1
            if self._want == "key" and char != '"':
                self.failed = True
                return 0
            return self._start(self._want)
        expected = ":" if self._want == "colon" else ",}"
        if char not in expected:
            self.failed = True
            return 0
        if char == "}":
            self._close()
        else:
            self._want = "value" if char == ":" else "key"
        return 1

    def _opening(self, piece: str) -> int:
        """Everything before the object's first key, or the bare name before its arguments."""
        form = self._form
        whole: str = self._head + piece
        start = 0
        if self._first:
            for mark in (form.lead, form.trigger):
                inner = mark if form.body == "name" or not mark.startswith("{") else ""
                if inner and whole.startswith(inner, start):
                    start += len(inner)
                elif inner and inner.startswith(whole[start:]) and not start:
                    self._head = whole
                    return len(piece)
        if form.body == "name":
            return self._bare_name(whole, start, len(piece))
        rest = whole[start:].lstrip(SPACE + "[")
        if not rest:
            self._head = whole
            return len(piece)
        if rest[0] != "{":
            self.failed = True
            return 0
        self._want = "key"
        return len(whole) - len(rest) + 1 - len(self._head)

    def _bare_name(self, whole: str, start: int, new: int) -> int:
        at = whole.find(self._form.middle, start)
        if at < 0:
            self._head = whole
            self.failed = len(whole) - start > _NAME_CHARS
            return new
        name = whole[start:at].split("[CALL_ID]")[0].strip()
        if not name:
            self.failed = True
            return 0
        self._begin(name)
        self._want = "value"
        return at + len(self._form.middle) - len(self._head)

    def _start(self, what: str) -> int:
        self._scan = ValueScan()
        self._text = ""
        if what == "key":
            self._key = None
        elif what == "arguments":
            self._key = self._form.args
        # a second `arguments` member is read over: its text would not be JSON beside the first
        self._streams = what != "key" and self._key == self._form.args and not self._arguments
        return 0

    def _value(self, piece: str) -> int:
        assert self._scan is not None
        count = self._scan.push(piece)
        part = piece[:count]
        if self._streams:
            self._arguments = True
            if self.named:
                self._events.append(CallEvent("arguments", part))
            else:
                self._early += part
        else:
            self._text += part
        if self._scan.done:
            self._scan = None
            self._ended()
        return count

    def _ended(self) -> None:
        """A key or a value is complete."""
        if self._want == "key":
            self._key = _string(self._text)
            self._want = "colon"
            return
        if self._key == self._form.name and not self.named and self._form.body == "json":
            name = _string(self._text)
            if name is None:
                self.failed = True
                return
            self._begin(name)
        self._want = "comma"
        if self._form.body == "name":
            self._close()

    def _begin(self, name: str) -> None:
        self.named = True
        self._events.append(CallEvent("call", name))
        if self._early:
            self._events.append(CallEvent("arguments", self._early))

    def _close(self) -> None:
        if not self.named:
            self.failed = True
            return
        if not self._arguments:
            self._events.append(CallEvent("arguments", "{}"))
        self._events.append(CallEvent("end", ""))
        self.done = True


def _string(text: str) -> str | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, str) else None
