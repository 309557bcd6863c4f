"""Stop strings in text that arrives in pieces, over the C++ core."""

from __future__ import annotations

from collections.abc import Sequence

from treadle import _core
from treadle.errors import InvalidRequest


class StopSearch:
    """Finds the stop string that is complete first; of several ending there, the longest.

    Text is held back only while its end may be the beginning of a stop string.
    Source: Aho and Corasick, Efficient string matching (CACM 18, 1975).
    """

    def __init__(self, stops: Sequence[str]) -> None:
        """Raises InvalidRequest for an empty stop string."""
        for i, stop in enumerate(stops):
            if not stop:
                raise InvalidRequest("is empty", at=f"stop[{i}]", hint="leave it out")
        self._core = _core.StopSearch(list(stops))

    def push(self, text: str) -> tuple[str, str | None]:
        """(text that may be emitted, the stop string once it is complete)."""
        return self._core.push(text)

    def flush(self) -> str:
        """Ends the text and gives what was held back; nothing after a hit."""
        return self._core.flush()
