"""Errors and limits across the border to the core: the one place that knows both spellings."""

from __future__ import annotations

from dataclasses import fields

from treadle import _core
from treadle.errors import GrammarError, InvalidRequest, LimitExceeded, TreadleError
from treadle.limits import GrammarLimits

DEFAULT_LIMITS = GrammarLimits()


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


def core_limits(limits: GrammarLimits) -> _core.Limits:
    """The core's copy of `limits`."""
    out = _core.Limits()
    for field in fields(limits):
        setattr(out, field.name, getattr(limits, field.name))
    return out
