"""A model's output, split into text and tool calls while it is generated.

The output is normally constrained by `ToolFormat.tag`, so calls are well formed; the reader also
takes unconstrained output and output that ends anywhere: what turns out not to be a call is text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from treadle.text.call_body import SPACE, CallBody
from treadle.text.call_body import CallEvent as CallEvent
from treadle.text.framed_body import FramedBody
from treadle.text.styles import ANY, Allowed

if TYPE_CHECKING:
    from treadle.text.formats import CallForm, Reasoning


class CallReader:
    """Incremental reader of one choice. Pieces may be cut anywhere.

    White space around calls is dropped, white space inside text is kept. With
    `split_reasoning`, what stands between the family's reasoning marks at the start of the output
    comes as `reasoning` events without the marks; otherwise it is text, marks included.
    """

    def __init__(
        self,
        form: CallForm,
        reasoning: Reasoning | None = None,
        split_reasoning: bool = False,
        silent: tuple[str, ...] = (),
        allowed: Callable[[str, str], Allowed] = lambda _name, _key: ANY,
    ) -> None:
        self._form = form
        self._reasoning = reasoning
        self._split = split_reasoning
        self._silent = silent  # marks that frame plain text and belong to nothing
        self._allowed = allowed  # (tool, key) -> what a value without a type may be
        self._held = ""  # input not yet consumed
        self._events: list[CallEvent] = []
        self._space = ""  # white space that is text only if text follows
        self._called = False
        self._body: CallBody | FramedBody | None = None
        self._raw = ""  # what has been read of a call that has no name yet
        self._state: Literal["start", "thought", "text", "between", "call", "after"] = (
            "start" if reasoning else "text"
        )

    def push(self, text: str) -> list[CallEvent]:
        """The events that this piece of output completes."""
        self._held += text
        while self._step():
            pass
        return self._take()

    def finish(self) -> list[CallEvent]:
        """Ends the output wherever it stands: a call with a name ends, one without is text."""
        if self._state == "call":
            assert self._body is not None
            if self._body.named:
                self._events.append(CallEvent("end", ""))
            else:
                self._emit_text(self._raw + self._held)
        elif self._state == "thought":
            self._emit_thought(self._held)
        elif self._state in ("start", "text"):
            self._emit_text(self._held)
        if self._space and not self._called:
            self._events.append(CallEvent("text", self._space))
        self._held = self._space = self._raw = ""
        self._state = "text"
        return self._take()

    def _take(self) -> list[CallEvent]:
        """The events so far, neighbouring pieces of the same kind joined."""
        joined: list[CallEvent] = []
        for event in self._events:
            if joined and joined[-1].kind == event.kind and event.kind not in ("call", "end"):
                joined[-1] = CallEvent(event.kind, joined[-1].value + event.value)
            elif event.value or event.kind == "end":
                joined.append(event)
        self._events = []
        return joined

    def _step(self) -> bool:
        """One move; False when more input is needed."""
        if self._state == "start":
            return self._in_start()
        if self._state == "thought":
            return self._in_thought()
        if self._state == "text":
            return self._in_text()
        if self._state == "between":
            return self._in_between()
        if self._state == "after":
            return self._in_after()
        return self._in_call()

    def _in_start(self) -> bool:
        assert self._reasoning is not None
        begin = self._reasoning.begin
        seen = self._held.lstrip(SPACE)
        if seen.startswith(begin):
            if self._split:
                self._held = seen[len(begin) :]
            self._state = "thought"
            return True
        if begin.startswith(seen):  # also nothing but white space so far
            return False
        self._state = "text"
        return True

    def _in_thought(self) -> bool:
        assert self._reasoning is not None
        end = self._reasoning.end
        at = self._held.find(end)
        if at < 0:
            keep = _overlap(self._held, (end,))
            self._emit_thought(self._held[: len(self._held) - keep])
            self._held = self._held[len(self._held) - keep :]
            return False
        cut = at if self._split else at + len(end)
        self._emit_thought(self._held[:cut])
        self._held = self._held[at + len(end) :]
        if self._split:
            self._called = True  # white space between reasoning and answer belongs to neither
        self._state = "text"
        return True

    def _in_text(self) -> bool:
        marks = [*self._form.triggers, *self._silent]
        found = [at for at in (self._held.find(mark) for mark in marks) if at >= 0]
        if not found:
            keep = _overlap(self._held, marks)
            self._emit_text(self._held[: len(self._held) - keep])
            self._held = self._held[len(self._held) - keep :]
            return False
        at = min(found)
        self._emit_text(self._held[:at])
        self._raw = ""
        self._held = self._held[at:]
        for mark in self._silent:
            if self._held.startswith(mark):
                self._held = self._held[len(mark) :]
                self._called = True  # white space around the mark belongs to neither side
                return True
        self._open(first=True)
        return True

    def _open(self, first: bool) -> None:
        framed = self._form.body == "slots"
        self._body = (
            FramedBody(self._form, first, self._allowed) if framed else CallBody(self._form, first)
        )
        self._state = "call"

    def _in_call(self) -> bool:
        assert self._body is not None
        piece, self._held = self._held, ""
        used, events = self._body.push(piece)
        # A framed call sees its end only by reading on: it may give back more than this piece.
        self._held = piece[used:] if used >= 0 else self._body.rest
        if self._body.named:
            self._events += events
            self._space, self._called, self._raw = "", True, ""
        else:
            self._raw += piece[:used]
        if self._body.failed:
            # no call after all: its first character is text, the rest is read again
            again = self._raw + self._held
            self._emit_text(again[:1])
            self._held = again[1:]
            self._raw, self._state = "", "text"
            return bool(self._held)
        if self._body.done:
            self._state = "between" if self._form.many == "array" else "after"
            return True
        return False

    def _in_between(self) -> bool:
        """Inside the array of calls: a comma and another, or the bracket that closes it."""
        if self._form.body == "slots":
            return self._in_wrapper()
        rest = self._held.lstrip(SPACE + ",")
        if not rest:
            self._held = ""
            return False
        self._held = rest
        if rest[0] == "{":
            self._open(first=False)
        else:
            self._held = rest[1:] if rest[0] == "]" else rest
            self._state = "after"
        return True

    def _in_wrapper(self) -> bool:
        """Inside a wrapper: its end, or another call."""
        rest = self._held.lstrip(SPACE)
        end = self._form.wrapper_end.strip(SPACE)
        self._held = rest
        if rest.startswith(end):
            self._held = rest[len(end) :]
            self._state = "text"
            return True
        if end.startswith(rest):
            return False
        self._open(first=False)
        return True

    def _in_after(self) -> bool:
        """After a call: its closing mark, if there is one, belongs to it."""
        # The bracket of an array has been read with the calls.
        array = self._form.many == "array"
        mark = (self._form.end.lstrip("]") if array else self._form.end).strip(SPACE)
        seen = self._held.lstrip(SPACE)
        if mark and seen.startswith(mark):
            self._held = seen[len(mark) :]
        elif mark and mark.startswith(seen):
            return False  # the mark may still come
        self._state = "between" if self._form.wrapper_end else "text"
        return True

    def _emit_thought(self, text: str) -> None:
        if self._split:
            self._events.append(CallEvent("reasoning", text))
        else:
            self._emit_text(text)

    def _emit_text(self, text: str) -> None:
        """Text, with white space at its end held back until more text shows that it counts."""
        whole = self._space + text
        body = whole.rstrip(SPACE)
        self._space = whole[len(body) :]
        if body:
            if self._called:
                body = body.lstrip(SPACE)
                self._called = False
            self._events.append(CallEvent("text", body))


def _overlap(text: str, marks: tuple[str, ...] | list[str]) -> int:
    """Length of the longest end of `text` that begins one of the marks."""
    longest = max((len(mark) for mark in marks), default=1) - 1
    for size in range(min(longest, len(text)), 0, -1):
        if any(mark.startswith(text[-size:]) for mark in marks):
            return size
    return 0
