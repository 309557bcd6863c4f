"""The template environment: what Hugging Face chat templates may use, and its meters."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

import minijinja

from treadle.errors import LimitExceeded
from treadle.limits import Limits


class TemplateRefusal(Exception):
    """`raise_exception` was called: the template does not take this conversation."""


class OutputMeter:
    """Counts the characters a rendering prints, captured blocks included, a thread at a time.

    minijinja's fuel counts instructions, and one instruction may print any amount; this stops a
    template when it has printed more than the cap instead of when memory is gone.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def start(self, maximum: int) -> None:
        """Begins a rendering on this thread."""
        self._local.maximum = maximum
        self._local.left = 4 * maximum  # a text may pass through a few captured blocks

    def __call__(self, value: Any) -> Any:
        """minijinja's finaliser: called with every value that is about to be printed."""
        if isinstance(value, str):
            self._local.left -= len(value)
            if self._local.left < 0 or len(value) > self._local.maximum:
                maximum: int = self._local.maximum
                raise LimitExceeded(
                    "template_output_bytes",
                    maximum + max(1, -self._local.left),
                    maximum,
                    at="chat_template",
                )
        return NotImplemented  # print it as usual


def environment(
    limits: Limits, clock: Callable[[], datetime]
) -> tuple[minijinja.Environment, OutputMeter]:
    """An environment with fuel, no loader and no auto-escaping."""
    meter = OutputMeter()

    def strftime_now(pattern: str) -> str:
        return clock().strftime(str(pattern))

    made = minijinja.Environment(
        fuel=limits.template_fuel,
        undefined_behavior="lenient",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        auto_escape_callback=_no_escape,
        finalizer=meter,
        globals={"raise_exception": _raise, "strftime_now": strftime_now},
        filters={"tojson": _tojson, "format": _format, "indent": _indent},
        debug=False,
    )
    made.remove_global("debug")
    return made, meter


def _no_escape(_name: str) -> str | None:
    return None


def _raise(message: object = "") -> None:
    raise TemplateRefusal(str(message))


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON: the stock filter escapes <, >, & and ', which templates for models do not want.

    Raises ValueError for more than a screen's worth of indentation, TypeError for no JSON value.
    """
    import json  # few templates print any

    if indent is not None:
        _check_width(indent)
    pair = None if separators is None else (str(separators[0]), str(separators[1]))
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=pair, sort_keys=sort_keys
    )


def _format(pattern: str, *values: Any, **named: Any) -> str:
    """`%` formatting with widths that fit a line: a wide pad would print gigabytes on no fuel."""
    digits = ""
    for char in str(pattern):
        digits = digits + char if char.isdigit() else ""
        if len(digits) > 3:
            raise ValueError("format: a width above 999")
    if "*" in str(pattern):
        raise ValueError("format: widths from arguments are not supported")
    return str(pattern) % (named or values)


def _indent(value: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    """jinja2's `indent`, with a bounded width."""
    pad = width if isinstance(width, str) else " " * _check_width(width)
    if len(pad) > 999:
        raise ValueError("indent: a width above 999")
    lines = str(value).split("\n")
    rest = [pad + line if line or blank else line for line in lines[1:]]
    head = pad + lines[0] if first else lines[0]
    return "\n".join([head, *rest])


def _check_width(width: int) -> int:
    if not 0 <= width <= 999:
        raise ValueError("an indentation above 999")
    return width
