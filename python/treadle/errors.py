"""The one error tree. A message names the place, a hint says what to do.

`code` is the class in snake case; it is what HTTP clients, the browser and the C++ core share.
HTTP status and command-line exit code are properties of the class.
"""

from __future__ import annotations

import re
from typing import ClassVar


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


class TreadleError(Exception):
    """Root of every error that treadle raises on purpose.

    `at` is the place (JSON pointer, line:column, field, tensor, file), `hint` the remedy.
    """

    code: ClassVar[str] = "treadle_error"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 5

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.code = _snake(cls.__name__)

    def __init__(self, message: str, *, at: str | None = None, hint: str | None = None) -> None:
        self.message = message
        self.at = at
        self.hint = hint
        text = f"{at}: {message}" if at else message
        super().__init__(f"{text}; {hint}" if hint else text)


class InvalidRequest(TreadleError):
    """A field is unknown, missing, of the wrong type or out of range. `at` = the field."""

    http_status = 400
    exit_code = 2


class Unsupported(InvalidRequest):
    """Well-formed, but not something this build, model or endpoint can do."""


class GrammarError(TreadleError):
    """A schema, regex or grammar cannot be used.

    `kind` is the source language, `keyword` the offending keyword if there is one, `reason` one
    of `syntax`, `unsupported`, `unsatisfiable`, `stuck`, `format`.
    """

    http_status = 400
    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        at: str | None = None,
        hint: str | None = None,
        kind: str = "grammar",
        keyword: str | None = None,
        reason: str = "syntax",
    ) -> None:
        super().__init__(message, at=at, hint=hint)
        self.kind = kind
        self.keyword = keyword
        self.reason = reason


class LimitExceeded(TreadleError):
    """A budget was spent. Carries the limit's name, the value met and the maximum.

    `http_status` and `exit_code` differ from the class's own where the budget is a special one:
    413 and 431 for sizes that HTTP names, 3 for budgets of model files.
    """

    http_status = 400
    exit_code = 2

    def __init__(
        self,
        limit: str,
        value: int | float,
        maximum: int | float,
        *,
        at: str | None = None,
        hint: str | None = None,
        http_status: int | None = None,
        exit_code: int | None = None,
    ) -> None:
        super().__init__(f"{limit} is {value}, the maximum is {maximum}", at=at, hint=hint)
        self.limit = limit
        self.value = value
        self.maximum = maximum
        if http_status is not None:
            self.http_status = http_status  # pyright: ignore[reportAttributeAccessIssue]
        if exit_code is not None:
            self.exit_code = exit_code  # pyright: ignore[reportAttributeAccessIssue]


class ContextOverflow(LimitExceeded):
    """Prompt and requested output do not fit the context window."""


class Unauthorized(TreadleError):
    """The API key is missing or wrong."""

    http_status = 401
    exit_code = 2


class NotFound(TreadleError):
    """No such model, route, file or alias."""

    http_status = 404
    exit_code = 2


class Cancelled(TreadleError):
    """The caller left. Logged, never sent."""

    http_status = 499


class Timeout(TreadleError):
    """A deadline passed; the message names the phase that was reached."""

    http_status = 504


class ModelFormatError(TreadleError):
    """A model file is malformed. `at` = file, offset or tensor; message = read and expected."""

    exit_code = 3


class GraphError(TreadleError):
    """A graph breaks a rule. `at` = graph and node, message starts with the rule's id."""


class KernelError(TreadleError):
    """A kernel failed to build, to run, or gave values that cannot be (NaN logits)."""

    exit_code = 4


class Overloaded(TreadleError):
    """The queue is full. `retry_after` in seconds, from the queue's drain rate."""

    http_status = 429
    exit_code = 4

    def __init__(self, message: str, *, retry_after: float = 1.0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class EngineDead(TreadleError):
    """The engine stopped; the request did not finish."""

    http_status = 503
    exit_code = 4


class NotReady(TreadleError):
    """Weights are still loading, or the server is draining."""

    http_status = 503
    exit_code = 4
