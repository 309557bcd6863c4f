"""Token ids to text while they are generated, over the C++ core."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from treadle import _core
from treadle.types import TokenKind, TokenTable

_SILENT = (int(TokenKind.CONTROL), int(TokenKind.UNUSED))  # plain: vocabularies are long


class Detokeniser:
    """The text of one sequence, piece by piece; what comes out is always whole characters.

    Bytes that are not UTF-8 become U+FFFD, as `bytes.decode(errors="replace")` has it over the
    whole text. `Spellings.detokeniser` makes one.
    """

    def __init__(self, core: _core.Detokeniser) -> None:
        self._core = core

    def push(self, ids: Sequence[int]) -> str:
        """The text that these ids complete; ids beyond the table spell nothing."""
        return self._core.push(ids)

    def flush(self) -> str:
        """Ends the text; an unfinished character becomes U+FFFD. Ready for another text."""
        return self._core.flush()


class Spellings:
    """What the tokens of a vocabulary spell: one block of bytes, however many sequences run."""

    def __init__(self, table: TokenTable) -> None:
        data = table.data
        self._all = data if isinstance(data, _core.TokenBytes) else _core.TokenBytes(data)
        self._silent = frozenset(i for i, kind in enumerate(bytes(table.kinds)) if kind in _SILENT)
        self._strip_space = table.strip_space
        self._blocks: dict[frozenset[int], _core.TokenBytes] = {}

    def detokeniser(self, keep: Iterable[int] = ()) -> Detokeniser:
        """A detokeniser for a new sequence.

        Control tokens spell nothing, except those whose ids are in `keep`: a tool format whose
        markers are control tokens lists them, so that its reader sees them.
        """
        keep = frozenset(keep)
        block = self._blocks.get(keep)
        if block is None:
            block = self._blocks[keep] = self._all.without(list(self._silent - keep))
        return Detokeniser(_core.Detokeniser(block, self._strip_space))
