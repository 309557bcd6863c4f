"""What a drawn token does to its choice: grammar, text, stop strings, ends. Only this file (called
by the loop) advances a sequence's tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle.errors import GrammarError, KernelError, TreadleError
from treadle.text import StopSearch
from treadle.types import Delta, FinishReason, TokenLogprob, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence as SequenceOf

    from treadle.engine.request import Sequence
    from treadle.text import Detokeniser
    from treadle.types import Sampled, Sampling, TokenTable

NOT_FINITE = 2  # status of a row in `Sampled`; 1 = no legal token


class Writer:
    """Turns the tokens of one choice into text that never ends inside a character and never
    shows what may become a stop string. Stop strings count once `min_tokens` are out."""

    __slots__ = ("_detokeniser", "_ends", "_min_tokens", "_stops")

    def __init__(self, detokeniser: Detokeniser, ends: frozenset[int], sampling: Sampling) -> None:
        self._detokeniser = detokeniser
        self._stops = StopSearch(sampling.stop) if sampling.stop else None
        self._ends = ends
        self._min_tokens = sampling.min_tokens

    def push(self, token: int, generated: int) -> tuple[str, FinishReason | None]:
        """The text that token number `generated` (from 1) adds, and "stop" if it ended the choice.

        An end token adds no text.
        """
        if token in self._ends:
            return self._flush(), "stop"
        text = self._detokeniser.push((token,))
        if self._stops is None or generated < self._min_tokens or not text:
            return text, None
        text, hit = self._stops.push(text)
        return text, None if hit is None else "stop"

    def close(self, text: str) -> str:
        """`text` and everything held back, for a choice that ends without a stop string."""
        return text + self._flush()

    def _flush(self) -> str:
        text = self._detokeniser.flush()
        if self._stops is None:
            return text
        shown, hit = self._stops.push(text) if text else ("", None)
        return shown if hit is not None else shown + self._stops.flush()


def row_error(status: int, constrained: bool) -> TreadleError:
    """The error of a row whose token could not be drawn."""
    if status == NOT_FINITE:
        return KernelError(
            "the model's logits are not finite", at="sample", hint="check the weight file"
        )
    if constrained:
        return GrammarError(
            "no token of the vocabulary continues the output", at="sample", reason="stuck"
        )
    return KernelError("no token is left to draw", at="sample", hint="loosen logit_bias or top_k")


def advance(
    seq: Sequence, tokens: SequenceOf[int], row: int, sampled: Sampled, table: TokenTable
) -> Delta:
    """Appends the token drawn in `row`, and those forced behind it up to where the choice ends;
    returns what they add. The matcher has accepted them."""
    ids, writer = seq.ids, seq.writer
    assert writer is not None
    first, text = len(ids), ""
    finish: FinishReason | None = None
    for token in tokens:
        ids.append(token)
        if seq.counts is not None:
            seq.counts.add(token)
        piece, finish = writer.push(token, len(ids) - seq.prompt)
        text += piece
        if finish is None and len(ids) >= seq.limit:
            text, finish = writer.close(text), "length"
        if finish is not None:
            break
    logprobs, most = (), seq.sampling.logprobs
    if most is not None:
        logprobs = (_logprob(tokens[0], row, sampled, table, most),)
    usage = Usage(seq.prompt, seq.generated, seq.cached or 0) if finish else None
    return Delta(seq.index, text, tuple(ids[first:]), logprobs, finish, usage)


def _logprob(token: int, row: int, sampled: Sampled, table: TokenTable, most: int) -> TokenLogprob:
    ids = sampled.top_ids.tolist()[row][:most]
    values = sampled.top_logprobs.tolist()[row]
    top = tuple((i, _bytes(table, i), v) for i, v in zip(ids, values, strict=False) if i >= 0)
    return TokenLogprob(token, _bytes(table, token), float(sampled.logprobs[row]), top)


def _bytes(table: TokenTable, token: int) -> bytes:
    return table.data[token] if token < len(table.data) else b""
