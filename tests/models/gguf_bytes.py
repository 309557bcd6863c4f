"""Writes GGUF files byte by byte, right or wrong on purpose. Knows nothing of the reader."""

from __future__ import annotations

import struct
from typing import Any

KINDS = {"u8": (0, "B"), "i8": (1, "b"), "u16": (2, "H"), "i16": (3, "h"), "u32": (4, "I"),
         "i32": (5, "i"), "f32": (6, "f"), "bool": (7, "B"), "u64": (10, "Q"), "i64": (11, "q"),
         "f64": (12, "d")}  # fmt: skip
STRING, ARRAY = 8, 9


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def scalar(kind: str, value: Any) -> bytes:
    return struct.pack("<" + KINDS[kind][1], value)


def key(name: str | bytes, kind: str, value: Any) -> bytes:
    """One pair. kind: a scalar's, "str", or "[kind]" for an array of scalars or strings."""
    if kind == "str":
        return text(name) + struct.pack("<I", STRING) + text(value)
    if not kind.startswith("["):
        return text(name) + struct.pack("<I", KINDS[kind][0]) + scalar(kind, value)
    item = kind[1:-1]
    code = STRING if item == "str" else KINDS[item][0]
    body = b"".join(text(v) if item == "str" else scalar(item, v) for v in value)
    return text(name) + struct.pack("<IIQ", ARRAY, code, len(value)) + body


def tensor(name: str, axes: tuple[int, ...], code: int, offset: int) -> bytes:
    """One description; axes as they lie in the file, the fastest first."""
    sizes = struct.pack(f"<{len(axes)}Q", *axes)
    return text(name) + struct.pack("<I", len(axes)) + sizes + struct.pack("<IQ", code, offset)


def document(
    keys: list[bytes],
    tensors: list[bytes],
    data: bytes = b"",
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    tensor_count: int | None = None,
    key_count: int | None = None,
    alignment: int = 32,
) -> bytes:
    head = magic + struct.pack(
        "<IQQ",
        version,
        len(tensors) if tensor_count is None else tensor_count,
        len(keys) if key_count is None else key_count,
    )
    body = head + b"".join(keys) + b"".join(tensors)
    return body + b"\0" * (-len(body) % alignment) + data
