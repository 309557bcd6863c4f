"""Matchers, bitmasks, and bitmasks applied to logits."""

# The objects of this package work on each other's handles.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import torch

from treadle import _core
from treadle.compat.xgrammar._rows import float_row, long_row, view_of
from treadle.compat.xgrammar.base import XGRObject
from treadle.compat.xgrammar.compiler import CompiledGrammar
from treadle.compat.xgrammar.exception import RefusedError
from treadle.compat.xgrammar.kernels import applier
from treadle.errors import TreadleError
from treadle.grammar import Batch, Matcher
from treadle.grammar.translate import translate

bitmask_dtype = torch.int32


def get_bitmask_shape(batch_size: int, vocab_size: int) -> tuple[int, int]:
    """(batch_size, ceil(vocab_size / 32))."""
    return (batch_size, (vocab_size + 31) // 32)


def allocate_token_bitmask(batch_size: int, vocab_size: int) -> torch.Tensor:
    """int32 [batch_size, ceil(vocab_size / 32)] on the CPU, with every token legal."""
    return torch.full(get_bitmask_shape(batch_size, vocab_size), -1, dtype=bitmask_dtype)


def reset_token_bitmask(bitmask: torch.Tensor) -> None:
    """Makes every token legal."""
    bitmask.fill_(-1)


def apply_token_bitmask_inplace(
    logits: torch.Tensor,
    bitmask: torch.Tensor,
    *,
    vocab_size: int | None = None,
    indices: list[int] | None = None,
    backend: Literal["auto", "cpu", "cuda", "triton", "torch_compile", "torch_native"] = "auto",
) -> None:
    """Sets the logits of illegal tokens to minus infinity, in place.

    Shapes: logits [n, V] or [V]; bitmask int32 [m, W] or [W], on the same device. `indices`: rows
    of both to use. Logits beyond `vocab_size` (default: what both cover) stay, with a warning when
    the bitmask is the narrower one.
    """
    if bitmask.device != logits.device:
        raise ValueError(f"logits are on {logits.device}, the bitmask on {bitmask.device}")
    covered = bitmask.shape[-1] * 32
    if vocab_size is None and covered < logits.shape[-1]:
        warnings.warn(
            f"the bitmask covers {covered} of {logits.shape[-1]} logits; the others stay as they "
            "are. Allocate it for the model's vocabulary size, or give vocab_size",
            stacklevel=2,
        )
    kind = logits.device.type
    if backend == "auto":
        usual = {"cpu": "cpu", "cuda": "triton", "npu": "torch_native"}
        backend = usual.get(kind, "torch_compile")  # type: ignore[assignment]
    apply = applier(backend)
    if backend == "cuda":
        apply(logits, bitmask, indices)
    else:
        apply(logits, bitmask, vocab_size, indices)


class GrammarMatcher(XGRObject):
    """Follows one output through a compiled grammar.

    terminate_without_stop_token: the matcher has terminated as soon as the text is complete.
    default_temperature: what `temperature` is where the grammar sets none.
    """

    def __init__(
        self,
        compiled_grammar: CompiledGrammar,
        *,
        override_stop_tokens: int | list[int] | None = None,
        terminate_without_stop_token: bool = False,
        max_rollback_tokens: int = -1,
        default_temperature: float | None = None,
    ) -> None:
        if not isinstance(compiled_grammar, CompiledGrammar):  # pyright: ignore
            raise ValueError("expected a CompiledGrammar; compile the grammar first")
        if max_rollback_tokens != -1:
            warnings.warn(
                "max_rollback_tokens is not needed: rollback is unlimited",
                DeprecationWarning,
                stacklevel=2,
            )
        stops = override_stop_tokens
        bound = compiled_grammar._handle
        if isinstance(stops, int):
            stops = [stops]
        self._stops = bound.tokens.stop_token_ids if stops is None else list(stops)
        self._terminate = terminate_without_stop_token
        self._temperature = None if default_temperature is None else float(default_temperature)
        try:
            self._follow(bound.native.matcher(self._stops))
        except (TreadleError, TypeError) as error:
            raise RuntimeError(f"override_stop_tokens: {error}") from error

    def _follow(self, native: Matcher) -> None:
        self._init_handle(native)
        self._native = native.core
        self._accept = native.core.accept
        self._fill = native.core.fill
        self._stopped = native.core.finished
        self._owner: Any = None  # the bitmask of the last call, and its rows taken apart
        self._view: Any = None

    def accept_token(self, token_id: int, *, debug_print: bool = False) -> bool:
        """Takes one token. False, and nothing changes, when it is not legal here."""
        try:
            accepted = self._accept(token_id)
        except _core.CoreError as error:
            raise RefusedError(translate(error)) from None
        if accepted and token_id in self._stops:
            self._stopped = True
        return accepted

    def accept_string(self, input_str: str | bytes, *, debug_print: bool = False) -> bool:
        """Takes a text as one step. False, and nothing changes, when it is not legal here."""
        text = input_str.encode() if isinstance(input_str, str) else input_str
        try:
            return self._native.accept_bytes(text)
        except _core.CoreError as error:
            raise RefusedError(translate(error)) from None

    def fill_next_token_bitmask(
        self, bitmask: Any, index: int = 0, *, debug_print: bool = False
    ) -> bool:
        """Writes the legal next tokens into row `index`; returns whether anything is masked.

        bitmask: int32 [n, ceil(V / 32)] (or one row) on the CPU, torch, numpy or any DLPack
        object. A tensor is taken apart once and remembered: give a new one rather than another
        memory by `set_` (`resize_` raises from then on). Raises RuntimeError for another buffer,
        and after a stop token was accepted.
        """
        if self._stopped:
            raise RuntimeError("the matcher has terminated: a stop token was accepted")
        if bitmask is not self._owner:
            self._view = view_of(bitmask)
            self._owner = bitmask
        try:
            return self._fill(self._view, index)
        except IndexError as error:
            raise RuntimeError(f"index: {error}") from None
        except _core.CoreError as error:
            raise RefusedError(translate(error)) from None

    def traverse_draft_tree(
        self,
        retrieve_next_token: torch.Tensor,
        retrieve_next_sibling: torch.Tensor,
        draft_tokens: torch.Tensor,
        token_bitmask: torch.Tensor,
        time_threshold: float = -1.0,
        temperatures: torch.Tensor | None = None,
    ) -> bool:
        """Fills a mask for each node of a draft tree; False when the time ran out.

        Shapes: int64 [n] first child, next sibling (-1: none) and token of each node, node 0 being
        the token accepted last; token_bitmask int32 [n, W]; temperatures float32 [n], -1 where
        none is set. Rows of refused nodes, and of nodes below them or not reached in time, are
        empty.
        """
        tree = [
            long_row(tensor, "a draft tree")
            for tensor in (retrieve_next_token, retrieve_next_sibling, draft_tokens)
        ]
        warm = None
        if temperatures is not None:
            warm = float_row(temperatures, len(tree[0]), "temperatures")[: len(tree[0])]
        seconds = time_threshold if time_threshold > 0 else None
        rows = view_of(token_bitmask)
        out = None if warm is None else warm.numpy()
        try:
            done: bool = self._handle.fill_tree(*tree, rows, seconds, out)
        except TreadleError as error:
            raise RefusedError(error) from None
        if warm is not None and self._temperature is not None:
            warm[warm < 0] = self._temperature
        return done

    def find_jump_forward_string(self) -> str:
        """The text that every completion goes on with. Raises RuntimeError after a stop token."""
        if self._stopped:
            raise RuntimeError("the matcher has terminated: a stop token was accepted")
        try:
            forced = self._native.forced()
        except _core.CoreError as error:
            raise RefusedError(translate(error)) from None
        # It may branch inside a character; half a character is no text.
        return forced.decode("utf-8", "ignore")

    def rollback(self, num_tokens: int = 1) -> None:
        """Takes back the last steps. Raises RuntimeError if there were fewer."""
        try:
            self._handle.rollback(num_tokens)
        except TreadleError as error:
            raise RefusedError(error) from None
        self._stopped = self._native.finished

    def get_captures(self, *, deduplicate: bool = True) -> list[tuple[str, bytes]]:
        """The captured parts (name, bytes), by where they end.

        deduplicate: the longest part of each occurrence, as the readings that are still possible
        have it; else every end of every reading.
        """
        try:
            return self._handle.captures(longest=deduplicate)
        except TreadleError as error:
            raise RefusedError(error) from None

    def is_terminated(self) -> bool:
        """Whether a stop token was accepted, or the text is complete if that is enough."""
        return self._native.accepting if self._terminate else self._stopped

    def is_completed(self) -> bool:
        """Whether the text may end here."""
        return self._native.accepting

    def reset(self) -> None:
        """Back to the start of the text."""
        self._native.reset()
        self._stopped = False

    def fork(self) -> GrammarMatcher:
        """A second matcher at the same place; both go on by themselves."""
        twin = GrammarMatcher.__new__(GrammarMatcher)
        twin._stops = self._stops
        twin._terminate = self._terminate
        twin._temperature = self._temperature
        twin._follow(self._handle.fork())
        return twin

    @property
    def max_rollback_tokens(self) -> int:
        """-1: rollback is unlimited."""
        return -1

    @property
    def temperature(self) -> float | None:
        """The sampling temperature for the next token, if any is set."""
        inner: float | None = self._handle.temperature
        return self._temperature if inner is None else inner

    @property
    def stop_token_ids(self) -> list[int]:
        """The tokens that end the text."""
        return list(self._stops)


class BatchGrammarMatcher(XGRObject):
    """Calls for many matchers at once.

    max_threads: "auto" (half of the cores, 8 at most) or how many compute masks at a time.
    """

    def __init__(self, max_threads: int | Literal["auto"] = "auto") -> None:
        if max_threads != "auto" and (not isinstance(max_threads, int) or max_threads < 1):  # pyright: ignore
            raise RuntimeError(f'max_threads must be "auto" or at least 1, got {max_threads!r}')
        self._init_handle(Batch(None if max_threads == "auto" else max_threads))
        self._owner: Any = None
        self._view: Any = None

    def batch_fill_next_token_bitmask(
        self,
        matchers: Sequence[GrammarMatcher],
        bitmask: Any,
        indices: Sequence[int] | None = None,
        debug_print: bool = False,
    ) -> None:
        """Fills row `indices[i]` (default: i) of `bitmask` for matcher i.

        Raises RuntimeError for a buffer or row that does not fit, for a matcher that has
        terminated, and after all others were filled, for a matcher that failed.
        """
        for position, matcher in enumerate(matchers):
            if matcher._stopped:
                raise RuntimeError(f"matcher {position} has terminated: a stop token was accepted")
        if bitmask is not self._owner:
            self._view = view_of(bitmask)
            self._owner = bitmask
        where = None if indices is None else list(indices)
        try:
            handles = [matcher._handle for matcher in matchers]
            failed: list[int] = self._handle.fill(handles, self._view, where)
        except (IndexError, ValueError) as error:
            raise RuntimeError(f"indices: {error}") from None
        if failed:
            error = matchers[failed[0]]._handle.error
            raise RefusedError(error)

    @staticmethod
    def batch_fill_temperature(
        matchers: Sequence[GrammarMatcher],
        temperatures: torch.Tensor,
        indices: Sequence[int] | None = None,
    ) -> None:
        """Writes each matcher's temperature, -1 where none is set, into float32 [n]."""
        where = range(len(matchers)) if indices is None else indices
        _same(matchers, where, "indices")
        row = float_row(temperatures, max(where, default=-1) + 1, "temperatures")
        if min(where, default=0) < 0:
            raise RuntimeError("indices: negative")
        for matcher, place in zip(matchers, where, strict=True):
            value = matcher.temperature
            row[place] = -1.0 if value is None else value

    @staticmethod
    def batch_accept_token(
        matchers: Sequence[GrammarMatcher], tokens: Sequence[int], debug_print: bool = False
    ) -> list[bool]:
        """`accept_token` for each pair."""
        _same(matchers, tokens, "tokens")
        return [m.accept_token(token) for m, token in zip(matchers, tokens, strict=True)]

    @staticmethod
    def batch_accept_string(
        matchers: Sequence[GrammarMatcher],
        strings: Sequence[str | bytes],
        debug_print: bool = False,
    ) -> list[bool]:
        """`accept_string` for each pair."""
        _same(matchers, strings, "strings")
        return [m.accept_string(text) for m, text in zip(matchers, strings, strict=True)]

    @staticmethod
    def batch_rollback(
        matchers: Sequence[GrammarMatcher], num_tokens: Sequence[int] | int = 1
    ) -> None:
        """`rollback` for each matcher, by one number or one each."""
        counts = [num_tokens] * len(matchers) if isinstance(num_tokens, int) else num_tokens
        _same(matchers, counts, "num_tokens")
        for matcher, count in zip(matchers, counts, strict=True):
            matcher.rollback(count)


def _same(matchers: Sequence[Any], others: Sequence[Any], name: str) -> None:
    if len(matchers) != len(others):
        raise RuntimeError(f"{name}: {len(others)} for {len(matchers)} matchers")
