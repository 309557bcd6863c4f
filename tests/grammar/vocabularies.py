"""Vocabularies for the tests of masks: awkward small ones and one of a few thousand tokens."""

from __future__ import annotations

import json
import random

from treadle.types import TokenKind, TokenTable


def table(texts: list[bytes], *, byte_tokens: bool = True) -> TokenTable:
    """Tokens in this order: `texts`, the 256 bytes, an empty one, `<|tool|>`, `</s>`, padding."""
    data = [*texts, *(bytes([i]) for i in range(256) if byte_tokens)]
    kinds = [TokenKind.NORMAL] * len(data)
    if byte_tokens:
        kinds[len(texts) :] = [TokenKind.BYTE] * 256
    data += [b"", b'"', b"</s>", b""]
    kinds += [TokenKind.NORMAL, TokenKind.CONTROL, TokenKind.CONTROL, TokenKind.UNUSED]
    return TokenTable(tuple(data), tuple(kinds), stop_ids=(len(data) - 2,))


def small() -> TokenTable:
    """Tokens that cross the ends of strings, numbers, keys and characters; one of them twice."""
    texts = [b'":', b'",', b'"}', b'{"', b"[]", b"}}", b"true", b"tru", b"12", b"0.", b"e+", b'"a"']
    texts += [b'\\"', b"\\u", b"\\ud8", b"\xc3", b"\xc3\xa9", b"\xa9x", b"\xf0\x9f", b"ab", b"abab"]
    texts += [b"  ", b"\n ", b"x" * 300, b"aa", b"aa", b', "', b'"name": "']
    return table(texts)


def medium(count: int = 3000, seed: int = 7) -> TokenTable:
    """Random slices of JSON texts, with the 256 bytes."""
    rng = random.Random(seed)
    words = [
        "name",
        "id",
        "größe",
        "日本",
        "tag",
        "x",
        "true",
        "null",
        "0.5e-3",
        "\U0001f600",
        "a b",
    ]
    value: object = {w: [rng.random(), w * 2, {w: None}, rng.randrange(10**6)] for w in words}
    sources = [json.dumps(value, indent=i, ensure_ascii=bool(i)) for i in (None, 1, 2)]
    data = "".join(sources).encode()
    texts: set[bytes] = set()
    while len(texts) < count:
        start = rng.randrange(len(data))
        texts.add(data[start : start + rng.choice((1, 2, 2, 3, 4, 6, 9))])
    return table(sorted(texts))
