"""Checked reading of a model's hyperparameters from config.json or GGUF metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from msgspec import Struct

from treadle.errors import ModelFormatError, Unsupported


class Fields(Struct, frozen=True):
    """A mapping of untrusted values. Null counts as absent; no default means required.

    `at` is the file, `prefix` goes before each key ("llama." in GGUF, "text_config." in errors).
    Every reader raises ModelFormatError naming the key; `only` and `refuse` raise Unsupported.
    """

    values: Mapping[str, Any]
    at: str
    prefix: str = ""
    shown: str = ""  # names the object in errors when it is nested in another

    def has(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self.values.get(self.prefix + key) is not None

    def integer(self, key: str, default: int | None = None, *, lo: int = 1, hi: int) -> int:
        """An integer in lo…hi."""
        value = self._get(key, default)
        if type(value) is not int or not lo <= value <= hi:
            raise self.wrong(key, f"is {_short(value)}, expected an integer from {lo} to {hi}")
        return value

    def real(
        self, key: str, default: float | None = None, *, lo: float = 0.0, hi: float = 1e12
    ) -> float:
        """A finite number in lo…hi, integers included."""
        value = self._get(key, default)
        if type(value) not in (int, float) or not lo <= value <= hi:
            raise self.wrong(key, f"is {_short(value)}, expected a number from {lo:g} to {hi:g}")
        return float(value)

    def positive(self, key: str, default: float | None = None) -> float:
        """A finite number above 0."""
        value = self.real(key, default)
        if value <= 0 or not math.isfinite(value):
            raise self.wrong(key, f"is {value}, expected a number above 0")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self._get(key, default)
        if type(value) is not bool:
            raise self.wrong(key, f"is {_short(value)}, expected true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self._get(key, default)
        if type(value) is not str:
            raise self.wrong(key, f"is {_short(value)}, expected a string")
        return value

    def items(self, key: str, kind: type, length: int | None = None) -> list[Any]:
        """A list of one type, of one length if given; empty when absent."""
        value: Any = self.values.get(self.prefix + key)
        if value is None:
            return []
        found = cast("list[Any]", value) if isinstance(value, list) else [None]
        if not all(type(item) is kind for item in found) or length not in (None, len(found)):
            size = "" if length is None else f"{length} "
            raise self.wrong(key, f"is {_short(value)}, expected a list of {size}{kind.__name__}")
        return found

    def section(self, key: str) -> Fields | None:
        """A nested object, or None when absent."""
        value: Any = self.values.get(self.prefix + key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(key, f"is {_short(value)}, expected an object")
        return Fields(
            cast("dict[str, Any]", value), self.at, shown=f"{self.shown}{self.prefix}{key}."
        )

    def only(self, key: str, *accepted: Any) -> None:
        """Refuses every value that this build cannot run; an absent key is accepted."""
        if self.has(key) and self.values[self.prefix + key] not in accepted:
            raise self.unsupported(key, f"accepted: {', '.join(map(repr, accepted))}")

    def unsupported(self, key: str, hint: str) -> Unsupported:
        """The error for a well-formed value that this build cannot run."""
        value: Any = self.values.get(self.prefix + key)
        return Unsupported(
            f"{self.shown}{self.prefix}{key} is {_short(value)}", at=self.at, hint=hint
        )

    def wrong(self, key: str, message: str) -> ModelFormatError:
        """The error for a value that cannot be."""
        return ModelFormatError(f"{self.shown}{self.prefix}{key} {message}", at=self.at)

    def _get(self, key: str, default: Any) -> Any:
        value = self.values.get(self.prefix + key)
        if value is None:
            value = default
        if value is None:
            raise self.wrong(key, "is missing")
        return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
