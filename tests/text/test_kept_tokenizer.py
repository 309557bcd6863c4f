"""A tokeniser kept on disk: the same as one made afresh, and never a damaged or another one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from treadle.limits import Limits
from treadle.text import Tokenizer, kept

TEXTS = ("Hello, world!", "  naïve café\n\t☃ <|im_end|>", "x" * 40, "")


def folder_of(path: Path) -> Path:
    found = [entry for entry in path.iterdir() if entry.is_file()]
    assert len(found) == 1
    return found[0]


def same(one: Tokenizer, other: Tokenizer) -> None:
    """Everything that is public, and encoding of a few texts."""
    assert one.table == other.table
    names = ("hash", "bos_id", "adds_bos", "vocab_size", "eos_token")
    assert [getattr(one, n) for n in names] == [getattr(other, n) for n in names]
    for text in TEXTS:
        for special in (False, True):
            assert one.encode(text, special=special) == other.encode(text, special=special)


@pytest.fixture
def metadata():
    """Of the smallest byte-level model that has merges and control tokens."""
    from treadle.models import GgufFile
    from treadle.models.sources import locate

    return GgufFile.open(locate("smollm2-135m", progress=False)).metadata


def test_what_is_kept_is_what_was_made(metadata, tmp_path: Path) -> None:
    fresh = Tokenizer.from_gguf(metadata, Limits())
    same(Tokenizer.from_gguf(metadata, Limits(), tmp_path), fresh)
    data = folder_of(tmp_path).read_bytes()
    same(Tokenizer.from_gguf(metadata, Limits(), tmp_path), fresh)
    rng = random.Random(1)
    for _ in range(40):  # a flipped bit or a cut never passes
        at = rng.randrange(len(data))
        broken = bytearray(data)
        broken[at] ^= 1 << rng.randrange(8)
        assert kept.unpack(bytes(broken)) is None
        assert kept.unpack(data[:at]) is None
    folder_of(tmp_path).write_bytes(data[:1000])
    same(Tokenizer.from_gguf(metadata, Limits(), tmp_path), fresh)
    assert folder_of(tmp_path).read_bytes() == data  # written again


def test_another_vocabulary_or_limit_has_another_name(metadata, tmp_path: Path) -> None:
    key = kept.key_of(metadata, Limits())
    tokens = [*metadata["tokenizer.ggml.tokens"]]
    tokens[5], tokens[6] = tokens[6], tokens[5]
    assert kept.key_of(metadata | {"tokenizer.ggml.tokens": tokens}, Limits()) != key
    assert kept.key_of(metadata, Limits(tokenizer_bytes=1 << 20)) != key
    assert kept.key_of(metadata | {"general.name": "another"}, Limits()) == key
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert Tokenizer.from_gguf(metadata, Limits(), blocked).vocab_size == len(tokens)
