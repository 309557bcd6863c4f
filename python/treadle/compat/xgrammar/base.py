"""What all objects of the interface share: one handle, and equality by it."""

from __future__ import annotations

from typing import Any, Self


class XGRObject:
    """Holds a handle to what does the work. Objects with one handle are equal; none is hashable."""

    @classmethod
    def _create_from_handle(cls, handle: Any) -> Self:
        """An object of this class around `handle`, without calling its constructor."""
        made = cls.__new__(cls)
        made.__handle = handle
        return made

    def _init_handle(self, handle: Any) -> None:
        self.__handle = handle

    @property
    def _handle(self) -> Any:
        return self.__handle

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, XGRObject):
            return NotImplemented
        return self._handle is other._handle

    __hash__ = None  # type: ignore[assignment]
