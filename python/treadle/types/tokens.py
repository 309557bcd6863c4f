"""What the grammar core and the detokeniser need to know of a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from msgspec import Struct


class TokenKind(IntEnum):
    """Normal: text. Control: never text (special). Byte: byte fallback. Unused: padding."""

    NORMAL = 0
    CONTROL = 1
    BYTE = 2
    UNUSED = 3


class TokenTable(Struct, frozen=True):
    """Bytes and kind of every id, and the ids that end a turn.

    `data[i]` are the bytes that id i decodes to in mid-text (empty for unused ids; a control
    token's own text); `kinds[i]` is a TokenKind or its number. `strip_space`: the decoder drops one
    leading space at the start of a text (SentencePiece).
    """

    data: Sequence[bytes]
    kinds: Sequence[int]
    stop_ids: tuple[int, ...]
    strip_space: bool = False
