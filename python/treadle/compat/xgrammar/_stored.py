"""Stored objects: JSON with `__VERSION__`, `kind` and fields, checked when it is read."""

from __future__ import annotations

import json
from typing import Any, cast

from treadle.compat.xgrammar.config import get_serialization_version
from treadle.compat.xgrammar.exception import (
    DeserializeFormatError,
    DeserializeVersionError,
    InvalidJSONError,
)

Json = dict[str, Any]


def store(kind: str, fields: Json) -> str:
    """The text of one object."""
    head = {"__VERSION__": get_serialization_version(), "kind": kind}
    return json.dumps(head | fields, ensure_ascii=False)


def load(kind: str, text: str) -> Json:
    """The fields of a stored object of this kind.

    Raises InvalidJSONError, DeserializeVersionError or DeserializeFormatError.
    """
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidJSONError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise DeserializeFormatError("expected a JSON object")
    fields = cast(Json, value)
    version, expected = fields.pop("__VERSION__", None), get_serialization_version()
    if version != expected:
        raise DeserializeVersionError(f"__VERSION__ is {version!r}, expected {expected!r}")
    found = fields.pop("kind", None)
    if found != kind:
        raise DeserializeFormatError(f"expected a stored {kind}, got {found!r}")
    return fields


def field(fields: Json, name: str, *kinds: type) -> Any:
    """A field of one of these types. Raises DeserializeFormatError."""
    value = fields.get(name)
    # bool is an int to Python, but not to JSON.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise DeserializeFormatError(f"{name}: expected {wanted}, got {type(value).__name__}")
    return value
