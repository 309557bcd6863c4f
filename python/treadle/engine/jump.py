"""Jump-forward: what a grammar forces is appended in one step instead of drawn token by token.

The text is the same either way: masks would leave nothing else. Its tokens are those that the
tokenizer itself makes of it, up to the place from which a token could run past the forced text. A
request whose draws are asked about (`logprobs`) or steered by token (`logit_bias`) does not jump.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from treadle.errors import TreadleError

if TYPE_CHECKING:
    from treadle.engine import request

Encode = Callable[[str], Sequence[int]]

LONGEST = 64  # tokens that are computed at once without counting as a prefill
_RECENT = (4, 1)  # tokens of the output that the forced text is encoded behind


class Jump:
    """Finds what is forced. `encode` gives the ids of a text, without special tokens."""

    def __init__(self, encode: Encode | None) -> None:
        self._encode = encode

    def after(self, seq: request.Sequence, token: int) -> list[int]:
        """Tokens that go on behind `token`, which its matcher has just taken; none where fewer
        than two are forced, for one costs a step either way. The matcher takes them too.
        """
        matcher, sampling = seq.matcher, seq.sampling
        if (
            self._encode is None
            or matcher is None
            or sampling.logprobs is not None
            or sampling.logit_bias
            or token in sampling.stop_token_ids
        ):
            return []
        try:
            if len(matcher.forced()) < 2:
                return []
            output = [*seq.ids[seq.prompt :][-max(_RECENT) :], token]
            for count in _RECENT:
                found = matcher.ff_tokens(self._ids, output[-count:])[: LONGEST - 1]
                found = found[: matcher.validate_tokens(found)]  # a token budget may end before
                if len(found) < 2:
                    continue
                for forced in found:
                    matcher.accept(forced)
                return found
        except TreadleError:
            pass  # it sticks to the matcher, whose next mask reports it
        return []

    def _ids(self, text: bytes) -> Sequence[int]:
        assert self._encode is not None
        try:
            return self._encode(text.decode())
        except UnicodeDecodeError:  # the recent tokens begin inside a character
            return []
