"""Errors and limits across the border to the core: the one place that knows both spellings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle import _core
from treadle.errors import GrammarError, InvalidRequest, LimitExceeded, TreadleError

if TYPE_CHECKING:  # at run time a third of what importing treadle.grammar would take
    from treadle.limits import GrammarLimits


_USUAL = _core.Limits()  # never changed


def translate(error: _core.CoreError) -> TreadleError:
    """The `TreadleError` that a status of the core stands for."""
    at = error.at or None
    if error.code == "limit_exceeded":
        return LimitExceeded(
            error.limit,
            _whole(error.value),
            _whole(error.maximum),
            at=at,
            hint=f"raise GrammarLimits.{error.limit} or simplify the grammar",
        )
    if error.code == "grammar_error":
        return GrammarError(
            error.text,
            at=at,
            kind=error.kind,
            keyword=error.keyword or None,
            reason=error.reason,
        )
    return InvalidRequest(error.text, at=at)


def _whole(value: float) -> int | float:
    return int(value) if value.is_integer() else value


def core_limits(limits: GrammarLimits | None) -> _core.Limits:
    """The core's copy of `limits`; None: its own defaults, which are the same."""
    if limits is None:
        return _USUAL
    out = _core.Limits()
    for name in limits.__struct_fields__:
        setattr(out, name, getattr(limits, name))
    return out
