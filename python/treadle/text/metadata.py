"""Typed, bounded reads of GGUF metadata. Every failure names the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from treadle.errors import LimitExceeded, ModelFormatError
from treadle.limits import Limits

PREFIX = "tokenizer.ggml."


class Metadata:
    """The `tokenizer.*` keys of a GGUF file, checked on every read."""

    def __init__(self, values: Mapping[str, Any], limits: Limits) -> None:
        self.values = values
        self.limits = limits

    def fail(self, key: str, message: str, hint: str | None = None) -> ModelFormatError:
        """An error at `tokenizer.ggml.<key>`."""
        return ModelFormatError(message, at=PREFIX + key, hint=hint)

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return PREFIX + key in self.values

    def text(self, key: str, default: str | None = None) -> str:
        """A string; the default, when given, stands for a missing key."""
        value = self.values.get(PREFIX + key, default)
        if not isinstance(value, str):
            raise self.fail(key, f"expected a string, got {_kind(value)}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """A bool."""
        value = self.values.get(PREFIX + key, default)
        if not isinstance(value, bool):
            raise self.fail(key, f"expected a bool, got {_kind(value)}")
        return value

    def token_id(self, key: str, size: int) -> int | None:
        """A token id below `size`; None when the key is missing."""
        if not self.has(key):
            return None
        value = self.values[PREFIX + key]
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(key, f"expected a token id, got {_kind(value)}")
        if not 0 <= value < size:
            raise self.fail(key, f"token id {value} is outside the vocabulary of {size}")
        return value

    def strings(self, key: str) -> list[str]:
        """An array of strings."""
        items = self._items(key)
        for i, item in enumerate(items):
            if not isinstance(item, str):
                raise self.fail(f"{key}[{i}]", f"expected a string, got {_kind(item)}")
        return items

    def integers(self, key: str, count: int, default: int) -> list[int]:
        """`count` integers; a missing key stands for `count` times the default."""
        if not self.has(key):
            return [default] * count
        items = self._items(key, count)
        for i, item in enumerate(items):
            if isinstance(item, bool) or not isinstance(item, int):
                raise self.fail(f"{key}[{i}]", f"expected an integer, got {_kind(item)}")
        return items

    def reals(self, key: str, count: int) -> list[float]:
        """`count` finite numbers."""
        items = [float(item) for item in self._items(key, count) if isinstance(item, (int, float))]
        if len(items) != count or any(item != item for item in items):
            raise self.fail(key, "expected numbers only, none of them NaN")
        return items

    def _items(self, key: str, count: int | None = None) -> list[Any]:
        value = self.values.get(PREFIX + key)
        if value is None:
            raise self.fail(key, "the key is missing", "convert the model again")
        if hasattr(value, "tolist"):  # numeric arrays may arrive as numpy arrays
            value = value.tolist()
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
            raise self.fail(key, f"expected an array, got {_kind(value)}")
        items: list[Any] = list(value)  # pyright: ignore[reportUnknownArgumentType]
        maximum = self.limits.gguf_array_items
        if len(items) > maximum:
            raise LimitExceeded("gguf_array_items", len(items), maximum, at=PREFIX + key)
        if count is not None and len(items) != count:
            raise self.fail(key, f"holds {len(items)} items, the vocabulary has {count} tokens")
        return items


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
