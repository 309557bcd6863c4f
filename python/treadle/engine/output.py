"""What `LLM` gives back: whole outputs, and streams of pieces."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from treadle.errors import Cancelled, LimitExceeded, TreadleError
from treadle.types import Delta, FinishReason, TokenLogprob, ToolCall, Usage

if TYPE_CHECKING:
    from types import TracebackType

    from treadle.engine.channel import Channel
    from treadle.engine.values import Decode
    from treadle.text import CallReader


class Output(Struct):
    """One answer. With n > 1 it is the first choice and `choices` holds all of them.

    `text` is what the model wrote, without the markup of its tool calls. `error` is set when an
    item of a list failed; the fields then hold what came before.
    """

    text: str = ""
    token_ids: list[int] = field(default_factory=list[int])
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    finish_reason: FinishReason | None = None
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    tool_calls: list[ToolCall] = field(default_factory=list[ToolCall])
    choices: list[Output] = field(default_factory=list["Output"])
    error: TreadleError | None = None
    notes: tuple[str, ...] = ()
    _decode: Decode | None = None

    def __repr__(self) -> str:  # without the choices, of which this is the first
        hidden = ("choices", "_decode")
        shown = [name for name in self.__struct_fields__ if name not in hidden]
        return f"Output({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    @property
    def value(self) -> Any:
        """The text as what `schema` asked for; the text itself without one; None beside calls.

        Raises the item's error, or LimitExceeded when max_tokens cut the output short.
        """
        if self.error is not None:
            raise self.error
        if self._decode is None:
            return self.text
        if self.tool_calls:
            return None
        if self.finish_reason == "length":
            tokens = self.usage.completion_tokens
            raise LimitExceeded(
                "max_tokens", tokens, tokens, hint="the output is cut short: raise max_tokens"
            )
        return self._decode(self.text)


class Assembly:
    """Puts the deltas of one request together, splitting tool calls off the text."""

    def __init__(
        self,
        n: int,
        decode: Decode | None,
        reader: Callable[[], CallReader] | None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.choices = [Output(_decode=decode, notes=notes) for _ in range(n)]
        self.output = self.choices[0]
        self.output.choices = self.choices
        self._readers = [None if reader is None else reader() for _ in range(n)]

    def add(self, delta: Delta) -> Delta:
        """Takes a delta in; returns it with the text that is not part of a tool call."""
        out = self.choices[delta.index]
        text = self._split(delta, out)
        out.text += text
        out.token_ids.extend(delta.token_ids)
        out.logprobs.extend(delta.logprobs)
        finish = delta.finish_reason
        if finish is not None:
            finish = "tool_calls" if finish == "stop" and out.tool_calls else finish
            out.finish_reason = finish
            out.usage = delta.usage or out.usage
        return Delta(delta.index, text, delta.token_ids, delta.logprobs, finish, delta.usage)

    def fail(self, error: TreadleError) -> None:
        """Marks every choice that has not ended."""
        for out in self.choices:
            if out.finish_reason is None:
                out.finish_reason = "abort" if isinstance(error, Cancelled) else "error"
            out.error = error

    def _split(self, delta: Delta, out: Output) -> str:
        reader = self._readers[delta.index]
        if reader is None:
            return delta.text
        events = list(reader.push(delta.text))
        if delta.finish_reason is not None:
            events += reader.finish()
        text = ""
        for kind, value in events:
            if kind == "text":
                text += value
            elif kind == "call":
                out.tool_calls.append(ToolCall(f"call-{os.urandom(12).hex()}", value, ""))
            elif kind == "arguments":
                call = out.tool_calls[-1]
                out.tool_calls[-1] = ToolCall(call.id, call.name, call.arguments + value)
        return text


class TextStream:
    """Pieces of one answer as they come: an iterator and a context manager.

    `output` grows with them. Leaving the block, `close` or dropping the stream aborts the request.
    """

    def __init__(self, channel: Channel, assembly: Assembly, abort: Callable[[], None]) -> None:
        self._channel = channel
        self._assembly = assembly
        self._abort = abort

    @property
    def output(self) -> Output:
        """What has come so far; complete once the iteration has ended."""
        return self._assembly.output

    def __iter__(self) -> Iterator[Delta]:
        return self

    def __next__(self) -> Delta:
        while True:
            self._channel.wait()
            try:
                delta = self._channel.take()
            except TreadleError as error:
                self._assembly.fail(error)
                raise
            if delta is not None:
                return self._assembly.add(delta)

    def __enter__(self) -> TextStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Aborts the request if it still runs. Safe to call twice."""
        if not self._channel.ended:
            self._abort()

    def __del__(self) -> None:
        self.close()
