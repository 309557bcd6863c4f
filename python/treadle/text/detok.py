"""Token ids to text while they are generated, over the C++ core."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from treadle import _core
from treadle.types import TokenKind, TokenTable

_KEPT_TABLES = 8
_tables: dict[tuple[int, frozenset[int]], tuple[TokenTable, _core.TokenBytes]] = {}


class Detokeniser:
    """The text of one sequence, piece by piece; what comes out is always whole characters.

    Control tokens spell nothing, except those whose ids are in `keep` (a tool format whose
    markers are control tokens lists them, so that its reader sees them). Bytes that are not
    UTF-8 become U+FFFD, as `bytes.decode(errors="replace")` has it over the whole text.
    """

    def __init__(self, table: TokenTable, keep: Iterable[int] = ()) -> None:
        self._core = _core.Detokeniser(_shared(table, frozenset(keep)), table.strip_space)

    def push(self, ids: Sequence[int]) -> str:
        """The text that these ids complete; ids beyond the table spell nothing."""
        return self._core.push(ids)

    def flush(self) -> str:
        """Ends the text; an unfinished character becomes U+FFFD. Ready for another text."""
        return self._core.flush()


def _shared(table: TokenTable, keep: frozenset[int]) -> _core.TokenBytes:
    """One block of bytes a table, however many sequences run."""
    key = (id(table), keep)
    known = _tables.get(key)
    if known is None:
        silent = (TokenKind.CONTROL, TokenKind.UNUSED)
        data = [
            b"" if kind in silent and i not in keep else table.data[i]
            for i, kind in enumerate(table.kinds)
        ]
        known = (table, _core.TokenBytes(data))  # holding the table keeps its id its own
        while len(_tables) >= _KEPT_TABLES:
            _tables.pop(next(iter(_tables)), None)
        _tables[key] = known
    return known[1]
