"""What happens to a request before the loop sees it: render, tokenise, check, compile.

Everything that touches untrusted text is here, off the event loop and off the engine's thread; the
server and `LLM` share it. The result, `Prepared`, is numbers and a compiled grammar.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from treadle.engine.compile import Constraints
from treadle.engine.request import Submit
from treadle.errors import ContextOverflow, InvalidRequest, LimitExceeded, Unsupported
from treadle.limits import Limits
from treadle.types import Generate, Message, Sampling, Tool

if TYPE_CHECKING:
    from treadle.engine.load import Loaded
    from treadle.engine.stats import Stats
    from treadle.grammar import Compiled


class Prepared(Struct, frozen=True):
    """A request ready to be submitted. `notes` are the grammar's warnings; `calls` tells whether
    the output may hold tool calls, which the model's `tool_format.reader()` splits off; their
    markers are shown in the text even where they are control tokens, `shown`."""

    ids: tuple[int, ...]
    sampling: Sampling
    grammar: Compiled | None
    notes: tuple[str, ...] = ()
    calls: bool = False
    shown: frozenset[int] = frozenset()

    def submit(self, number: int, *, priority: int = 0, salt: bytes = b"") -> Submit:
        """What crosses to the loop."""
        return Submit(number, self.ids, self.sampling, self.grammar, priority, salt, self.shown)


class Intake:
    """Prepares requests for one loaded model. Thread-safe."""

    def __init__(self, loaded: Loaded, limits: Limits, stats: Stats) -> None:
        self._loaded = loaded
        self._limits = limits
        self._stats = stats
        self._constraints = Constraints(loaded, limits)

    def warm(self) -> None:
        """Builds now what the first constrained request would wait for."""
        self._constraints.compiler()

    def prepare(self, request: Generate) -> Prepared:
        """Renders, tokenises, checks and compiles.

        Raises InvalidRequest (`at` = the field), ContextOverflow, LimitExceeded, GrammarError,
        Unsupported.
        """
        self._check(request)
        ids = self.prompt_ids(request)
        sampling = self._sampling(request, len(ids))
        start = time.monotonic()
        grammar, notes = self._constraints.of(request)
        if grammar is not None:
            self._stats.grammar_compile.observe(time.monotonic() - start)
        calls = bool(request.tools) and request.tool_choice != "none"
        shown = self._markers if calls else frozenset[int]()
        return Prepared(tuple(ids), sampling, grammar, notes, calls, shown)

    def prompt_ids(self, request: Generate) -> list[int]:
        """Token ids of the prompt, or of the messages as the chat template renders them."""
        tokenizer = self._loaded.tokenizer
        if request.messages:
            return tokenizer.encode(self.render(request), special=True)
        if isinstance(request.prompt, str):
            ids = tokenizer.encode(request.prompt, special=True, bos=tokenizer.adds_bos)
            if not ids and tokenizer.bos_id is not None:
                ids = [tokenizer.bos_id]  # the shortest thing a model can continue
        else:
            ids = list(request.prompt or ())
            vocab = self._loaded.exe.vocab
            for i, token in enumerate(ids):
                if not 0 <= token < vocab:
                    raise InvalidRequest(
                        f"{token} is no token id",
                        at=f"prompt/{i}",
                        hint=f"ids are 0 to {vocab - 1}",
                    )
        if not ids:
            raise InvalidRequest("is empty", at="prompt", hint="give at least one token")
        return ids

    def render(self, request: Generate) -> str:
        """The chat template's text for the messages and tools of a request."""
        template = self._loaded.template
        if template is None:
            raise Unsupported(
                f"{self._loaded.name} has no chat template", at="messages", hint="send a prompt"
            )
        for name in request.template_options:
            known = self._loaded.tool_format.options
            if name not in known:
                raise InvalidRequest(
                    "is no option of this model's template",
                    at=f"template_options/{name}",
                    hint=f"one of {list(known)}" if known else "drop it",
                )
        messages: Sequence[Message] = request.messages
        tools: Sequence[Tool] = () if request.tool_choice == "none" else request.tools
        needed = tools or any(turn.tool_calls or turn.role == "tool" for turn in messages)
        if needed and not template.supports_tools:
            form = self._loaded.tool_format
            messages = form.adapt(messages, tools, template.supports_system)
            tools = ()
        return template.render(
            messages, tools=tools, add_generation_prompt=True, options=request.template_options
        )

    @cached_property
    def _markers(self) -> frozenset[int]:
        """Control tokens that frame calls."""
        loaded = self._loaded
        found = (loaded.tokenizer.token_id(text) for text in loaded.tool_format.markers)
        return frozenset(token for token in found if token is not None)

    def _check(self, request: Generate) -> None:
        limits = self._limits
        if bool(request.messages) == (request.prompt is not None):
            raise InvalidRequest("give either a prompt or messages", at="prompt")
        for name, value, most in (
            ("messages", len(request.messages), limits.messages),
            ("tools", len(request.tools), limits.tools),
            ("n", request.sampling.n, limits.choices),
        ):
            if value > most:
                raise LimitExceeded(name, value, most, at=name)
        if request.tools and not request.messages:
            raise InvalidRequest("tools need messages", at="tools", hint="send a chat request")
        vocab = self._loaded.exe.vocab
        sampling = request.sampling
        for field, ids in (
            ("logit_bias", sampling.logit_bias),
            ("stop_token_ids", sampling.stop_token_ids),
        ):
            for token in ids:
                if token >= vocab:
                    raise InvalidRequest(
                        f"{token} is no token id", at=field, hint=f"ids are 0 to {vocab - 1}"
                    )

    def _sampling(self, request: Generate, prompt: int) -> Sampling:
        """Sampling with max_tokens and seed decided; checks that everything fits the context."""
        context = self._loaded.context
        sampling = request.sampling
        wanted = prompt + (sampling.max_tokens or 1)
        if wanted > context:
            raise ContextOverflow(
                "context",
                wanted,
                context,
                at="messages" if request.messages else "prompt",
                hint=f"the prompt has {prompt} tokens; shorten it or lower max_tokens",
            )
        most = sampling.max_tokens or context - prompt
        if sampling.min_tokens > most:
            raise InvalidRequest(
                f"is {sampling.min_tokens}, more than max_tokens {most}", at="min_tokens"
            )
        seed = int.from_bytes(os.urandom(8)) >> 1 if sampling.seed is None else sampling.seed
        return msgspec.structs.replace(sampling, max_tokens=most, seed=seed)
