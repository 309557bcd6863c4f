"""A model made ready to run: weights compiled by a backend, tokenizer, template, tool format."""

from __future__ import annotations

import os
import threading
from functools import cache, partial
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from treadle import _core
from treadle.digest import blake2b
from treadle.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from treadle.backends.base import Backend, Executable, Reopens
    from treadle.models import Model, TokenizerSource
    from treadle.text import ChatTemplate, Tokenizer, ToolFormat
    from treadle.types import TokenTable


class Chosen(Struct, frozen=True):
    """What the model runs on."""

    backend: str
    device: str
    threads: int


class Loaded(Struct, frozen=True, eq=False):
    """Everything the engine needs of a model. `context` is in tokens, prompt and output together:
    the model's own, or less when the KV pages hold less. `template` is None for a base model."""

    name: str
    exe: Executable
    tokenizer: Tokenizer
    template: ChatTemplate | None
    find_format: Callable[[], ToolFormat]
    context: int
    chosen: Chosen
    identity: bytes  # hash of graph (activation type included) and backend
    fingerprint: str  # OpenAI's system_fingerprint

    __hash__ = object.__hash__  # as eq=False says: each is its own

    @property
    def tool_format(self) -> ToolFormat:
        """How the model writes calls; looked up for the first request that has tools."""
        return self.find_format()

    @property
    def table(self) -> TokenTable:
        """Bytes and kinds of the vocabulary."""
        return self.tokenizer.table


def load(
    source: str,
    *,
    backend: str | None = None,
    device: str | None = None,
    act: str | None = None,
    threads: int | None = None,
    tp: int = 1,
    page_size: int = 16,
    pages: int | None = None,
    context: int | None = None,
    limits: Limits | None = None,
    progress: bool = True,
) -> Loaded:
    """Loads `source` (path, Hub repository or alias) on a backend.

    None leaves a choice to the backend table (`backend`) or to the backend: `device`, `act` (the
    activations' type), `threads`, `pages` (KV pages to allocate). `tp` GPUs share the model.
    `context` lowers the model's context. Raises ModelFormatError, NotFound, InvalidRequest,
    Unsupported.
    """
    from treadle.backends.table import backend as backend_named
    from treadle.backends.table import choose
    from treadle.models import load as load_model

    limits = limits or Limits()
    name, _ = choose(backend, device=device, dtype=act, page=page_size)
    ranks = {"tp": tp} if tp > 1 else {}  # one is every backend's
    if ranks and name != "mega":
        from treadle.errors import Unsupported

        raise Unsupported(
            f"backend {name} runs a model on one device", at="tp",
            hint="use --backend mega --device cuda",
        )  # fmt: skip
    compiler = backend_named(name, device=device, dtype=act, threads=threads, **ranks)
    page_size = getattr(compiler, "page", None) or page_size  # what a kernel insists on
    model = load_model(source, act=compiler.act, page=page_size, limits=limits, progress=progress)
    if os.environ.get("TREADLE_DEBUG"):
        from treadle.graph import debug_dump

        debug_dump(model.graph)
    words = _Aside(lambda: _words(model, limits))
    try:
        exe = _executable(compiler, model, limits, pages)
    finally:
        words.join()
    _core.give_back_heap()  # before the first step takes its part
    try:
        chosen = Chosen(name, compiler.device, compiler.threads)
        return _join(model, exe, words.result(), chosen, context)
    except BaseException:
        exe.close()
        raise


def _executable(compiler: Backend, model: Model, limits: Limits, pages: int | None) -> Executable:
    """From what an earlier process has left, or else from the graph, which is built then."""
    made = None
    if hasattr(compiler, "reopen"):
        made = cast("Reopens", compiler).reopen(model.outline, model.weights, limits, pages=pages)
    return made or compiler.compile(model.graph, model.weights, limits, pages=pages)


class _Words(Struct, frozen=True):
    """What of a model turns texts into tokens."""

    tokenizer: Tokenizer
    template: ChatTemplate | None


class _Aside(threading.Thread):
    """A call on a thread of its own, from now on: weights are packed without Python's lock."""

    def __init__(self, call: Callable[[], _Words]) -> None:
        super().__init__(name="treadle-words", daemon=True)
        self._call = call
        self._made: _Words | None = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._made = self._call()
        except BaseException as error:  # whatever it is, `result` raises it
            self._error = error

    def result(self) -> _Words:
        """What the call returned, or raises what it raised."""
        self.join()
        if self._error is not None:
            raise self._error
        assert self._made is not None
        return self._made


def _words(model: Model, limits: Limits) -> _Words:
    from treadle.text import ChatTemplate

    tokenizer = _tokenizer(model.tokenizer_source, limits)
    template = None
    if model.chat_template:
        template = ChatTemplate(
            model.chat_template,
            bos_token=tokenizer.bos_token,
            eos_token=tokenizer.eos_token,
            limits=limits,
        )
    return _Words(tokenizer, template)


def _tool_format(template: str | None, family: str) -> ToolFormat:
    from treadle.text import tool_format

    return tool_format(template, family)


def _join(
    model: Model, exe: Executable, words: _Words, chosen: Chosen, context: int | None
) -> Loaded:
    from treadle.version import __version__

    identity = blake2b(f"{model.outline.hash}|{chosen.backend}".encode()).digest()
    stamp = blake2b(identity + __version__.encode(), digest_size=5).hexdigest()
    most = min(context or model.context, model.context, exe.pages * exe.page_size)
    return Loaded(
        name=model.name,
        exe=exe,
        tokenizer=words.tokenizer,
        template=words.template,
        find_format=cache(partial(_tool_format, model.chat_template, model.outline.name)),
        context=most,
        chosen=chosen,
        identity=identity,
        fingerprint=f"fp_{stamp}",
    )


def _tokenizer(source: TokenizerSource, limits: Limits) -> Tokenizer:
    from treadle.models import cache_dir
    from treadle.text import Tokenizer

    if source.kind == "gguf":
        return Tokenizer.from_gguf(source.metadata, limits, cache_dir() / "tokenizers")
    assert source.path is not None
    return Tokenizer.from_json(source.path, source.metadata or None, limits)
