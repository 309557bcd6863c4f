"""Reading of the JSON files beside a model: bounded in size, duplicate keys refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from treadle.errors import LimitExceeded, ModelFormatError, NotFound


def read_json(path: Path, max_bytes: int) -> dict[str, Any]:
    """The object that a file holds.

    Raises NotFound, LimitExceeded (`json_file_bytes`), ModelFormatError with line and column.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise LimitExceeded("json_file_bytes", size, max_bytes, at=str(path), exit_code=3)
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound("no such file", at=str(path)) from None
    except OSError as error:
        raise ModelFormatError(f"cannot be read: {error.strerror}", at=str(path)) from None
    return parse_json(data, str(path))


def parse_json(data: bytes, at: str) -> dict[str, Any]:
    """The object in UTF-8 text; `at` names the place for errors. Raises ModelFormatError."""
    import json  # a GGUF file has none

    try:
        value: Any = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        place = f"{at}, line {error.lineno}, column {error.colno}"
        raise ModelFormatError(f"not JSON: {error.msg}", at=place) from None
    except RecursionError:
        raise ModelFormatError("JSON nested too deeply", at=at) from None
    except ValueError as error:  # not UTF-8, a key twice, or a number of too many digits
        raise ModelFormatError(str(error), at=at) from None
    if not isinstance(value, dict):
        raise ModelFormatError(f"holds a {type(value).__name__}, expected an object", at=at)
    return cast("dict[str, Any]", value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"key {twice!r} appears twice in one object")
    return out
