"""Errors. All are RuntimeErrors, as callers of xgrammar expect."""

from __future__ import annotations

from treadle.errors import TreadleError


class RefusedError(RuntimeError):
    """treadle refused the source, or a matcher failed. `error` is treadle's own typed error.

    Its fields name the place and the remedy: `GrammarError` (kind, at, keyword, reason),
    `LimitExceeded` (limit, value, maximum), `InvalidRequest` (at).
    """

    def __init__(self, error: TreadleError) -> None:
        super().__init__(str(error))
        self.error = error


class DeserializeFormatError(RuntimeError):
    """Stored text is JSON but not what was stored, or it belongs to another tokenizer."""


class DeserializeVersionError(RuntimeError):
    """Stored text has no `__VERSION__`, or another one than `get_serialization_version()`."""


class InvalidStructuralTagError(RuntimeError):
    """A structural tag is malformed. The message holds the JSON pointer."""


class InvalidJSONError(RuntimeError):
    """A text that should be JSON is not."""
