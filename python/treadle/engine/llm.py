"""The Python API: one model, plain calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, cast, overload

from treadle.engine.channel import Channel
from treadle.engine.intake import Intake
from treadle.engine.load import Loaded, load
from treadle.engine.loop import LoopOptions
from treadle.engine.output import Assembly, Output, TextStream
from treadle.engine.runner import Engine
from treadle.engine.stats import Stats
from treadle.engine.values import Decode, constraint_of, messages_of, tool_of
from treadle.errors import Overloaded, TreadleError
from treadle.limits import Limits
from treadle.types import Generate, Message, Sampling

Prompt = str | Sequence[int]
Messages = str | Sequence[Message | dict[str, Any]]
_AHEAD = 128  # items of a list that are in the engine at once


class LLM:
    """A model ready to answer.

        with LLM("smollm2-135m") as llm:
            out = llm.chat("Invent a sailor.", schema=Sailor, sampling=Sampling(seed=7))
            print(out.value)

    `model` is a path, a Hugging Face repository or an alias, or something loaded before; `backend`,
    `act`, `page_size`, `pages`, `context`, `progress` go to `load`. `overlap=False` runs the plain
    loop; `jump_forward=False` draws even the tokens that a grammar forces. Safe to use from several
    threads. Raises ModelFormatError, NotFound, Unsupported.
    """

    def __init__(
        self,
        model: str | Loaded = "smollm2-135m",
        *,
        backend: str | None = None,
        limits: Limits | None = None,
        overlap: bool = True,
        target_step: float = 0.05,
        jump_forward: bool = True,
        watchdog: float = 60.0,
        **options: Any,
    ) -> None:
        self._limits = limits or Limits()
        if isinstance(model, str):
            model = load(model, backend=backend, limits=self._limits, **options)
        self.loaded = model
        self._engine = Engine(
            model.exe,
            model.table,
            limits=self._limits,
            options=LoopOptions(
                self._limits.sequences,
                self._limits.batch_tokens,
                target_step,
                overlap,
                model.identity,
                model.tokenizer.encode if jump_forward else None,
            ),
            watchdog=watchdog,
        )
        self._intake = Intake(model, self._limits, self._engine.stats)
        self._engine.start()

    @property
    def stats(self) -> Stats:
        """Counters, gauges and histograms of the engine."""
        return self._engine.stats

    @overload
    def generate(self, prompt: str, **options: Any) -> Output: ...
    @overload
    def generate(self, prompt: list[str], **options: Any) -> list[Output]: ...
    @overload
    def generate(self, prompt: Sequence[int], **options: Any) -> Output: ...
    @overload
    def generate(self, prompt: Sequence[Sequence[int]], **options: Any) -> list[Output]: ...
    def generate(self, prompt: Any, **options: Any) -> Output | list[Output]:
        """Continues a prompt (text or token ids), or each of a list of them.

        Options: one of `schema`, `regex`, `grammar` (EBNF), `choice`; `sampling`. A single prompt
        raises its error; in a list it is the item's `error`, and the others go on.
        """
        many = not isinstance(prompt, str) and any(not isinstance(item, int) for item in prompt)
        make = _generate(options)
        if many:
            return self._run_all([make(item) for item in prompt])
        return self._run(*make(prompt))

    def chat(self, messages: Any, **options: Any) -> Any:
        """Answers a conversation (a text, or a list of messages), or each of a list of them.

        Options: those of `generate`, and `tools` (functions with typed parameters, or OpenAI's
        JSON), `tool_choice`, `parallel_tool_calls`, `template_options`. Returns an Output, or a
        list of them for a list of texts or of conversations.
        """
        many = not isinstance(messages, str) and any(
            not isinstance(item, (Message, dict)) for item in messages
        )
        make = _chat(options)
        if many:
            return self._run_all([make(item) for item in messages])
        return self._run(*make(messages))

    def stream(self, prompt: Prompt, **options: Any) -> TextStream:
        """`generate`, piece by piece."""
        return self._start(*_generate(options)(prompt))

    def stream_chat(self, messages: Messages, **options: Any) -> TextStream:
        """`chat`, piece by piece."""
        return self._start(*_chat(options)(messages))

    def close(self, drain: float = 0.0) -> None:
        """Ends what runs (after `drain` seconds) and frees the model. Safe to call twice."""
        self._engine.close(drain)

    def __enter__(self) -> LLM:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_intake"):  # only when __init__ got to its end
            self.close()

    def _start(self, request: Generate, decode: Decode | None) -> TextStream:
        prepared = self._intake.prepare(request)
        reader = None
        if prepared.calls:
            reader = partial(self.loaded.tool_format.reader, tools=request.tools)
        assembly = Assembly(prepared.sampling.n, decode, reader, prepared.notes)
        if request.echo:
            for choice in assembly.choices:
                choice.text = self.loaded.tokenizer.decode(list(prepared.ids))
        channel = Channel(self._limits.undelivered_deltas)
        number = self._engine.next_id()
        self._engine.submit(prepared.submit(number), channel)
        return TextStream(channel, assembly, lambda: self._engine.abort(number))

    def _run(self, request: Generate, decode: Decode | None) -> Output:
        with self._start(request, decode) as stream:
            for _ in stream:
                pass
        return stream.output

    def _run_all(self, work: list[tuple[Generate, Decode | None]]) -> list[Output]:
        outputs: list[Output] = []
        streams: deque[TextStream | TreadleError] = deque()
        try:
            for request, decode in work:
                while len(streams) >= _AHEAD:
                    outputs.append(_finish(streams.popleft()))
                while True:
                    try:
                        streams.append(self._start(request, decode))
                    except Overloaded as error:
                        if not streams:
                            streams.append(error)
                            break
                        outputs.append(_finish(streams.popleft()))
                        continue
                    except TreadleError as error:
                        streams.append(error)
                    break
            while streams:
                outputs.append(_finish(streams.popleft()))
        finally:
            for stream in streams:
                if isinstance(stream, TextStream):
                    stream.close()
        return outputs


def _finish(stream: TextStream | TreadleError) -> Output:
    if isinstance(stream, TreadleError):
        return Output(finish_reason="error", error=stream)
    try:
        for _ in stream:
            pass
    except TreadleError:
        return stream.output  # carries the error
    return stream.output


Make = Callable[[Any], tuple[Generate, Decode | None]]


def _generate(options: dict[str, Any]) -> Make:
    """From a prompt to its request, for the options of `LLM.generate`."""
    options = dict(options)
    constraint, decode = _constraint(options)
    sampling = options.pop("sampling", None) or Sampling()
    echo = bool(options.pop("echo", False))
    _no_more(options, "generate")

    def make(prompt: Any) -> tuple[Generate, Decode | None]:
        text = prompt if isinstance(prompt, str) else tuple(cast("Sequence[int]", prompt))
        return Generate(prompt=text, constraint=constraint, sampling=sampling, echo=echo), decode

    return make


def _chat(options: dict[str, Any]) -> Make:
    """From messages to their request, for the options of `LLM.chat`."""
    options = dict(options)
    constraint, decode = _constraint(options)
    common: dict[str, Any] = {
        "constraint": constraint,
        "sampling": options.pop("sampling", None) or Sampling(),
        "tools": tuple(tool_of(tool) for tool in options.pop("tools", ())),
        **{
            name: options.pop(name)
            for name in ("tool_choice", "parallel_tool_calls", "template_options")
            if name in options
        },
    }
    _no_more(options, "chat")

    def make(messages: Any) -> tuple[Generate, Decode | None]:
        return Generate(messages=messages_of(messages), **common), decode

    return make


def _constraint(options: dict[str, Any]) -> Any:
    names = ("schema", "regex", "grammar", "choice")
    return constraint_of(**{name: options.pop(name) for name in names if name in options})


def _no_more(options: dict[str, Any], call: str) -> None:
    if options:
        raise TypeError(f"{call}() got an unexpected keyword argument {min(options)!r}")
