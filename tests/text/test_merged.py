"""Merging apart from the library: the same ids as the library gives with all of the vocabulary."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import tokens

from treadle import _core
from treadle.limits import Limits
from treadle.models.gguf import LONG, GgufFile
from treadle.models.sources import locate
from treadle.text import Tokenizer, kept
from treadle.text.alphabet import LETTER_OF
from treadle.text.merged import Words, apart
from treadle.text.passages import Passages, plain_of
from treadle.text.spec import Spec


def _spec(data: dict[str, Any]) -> Spec:
    size = max(data["model"]["vocab"].values()) + 1
    return Spec(json.dumps(data), data, size, None, (), False, "test")


def _random_model(draw: random.Random) -> dict[str, Any]:
    """A vocabulary over a few letters whose merges compete, name pairs twice, and reach one piece
    in several ways."""
    vocab = {letter: i for i, letter in enumerate("abcd")}
    merges: list[list[str]] = []
    for _ in range(draw.randint(0, 25)):
        left, right = draw.choices(list(vocab), k=2)
        if len(left + right) < 9:
            vocab.setdefault(left + right, len(vocab))
            merges.insert(draw.randint(0, len(merges)), [left, right])
    unknown = {"unk_token": "d", "fuse_unk": draw.random() < 0.5} if draw.random() < 0.5 else {}
    return {"model": {"type": "BPE", "vocab": vocab, "merges": merges, **unknown}}


def test_words_equal_the_library_on_random_vocabularies() -> None:
    draw = random.Random(3)
    merged = 0
    for _ in range(300):
        spec = _spec(_random_model(draw))
        parts = apart(spec)
        assert parts is not None
        whole, symbols = (tokenizers.Tokenizer.from_str(text) for text in (spec.text, parts[0]))
        words = Words(parts[1], spec.size)
        for _ in range(20):
            text = "".join(draw.choices("abcd?", (9, 9, 9, 3, 1), k=draw.randint(0, 40)))
            wanted = whole.encode(text).ids
            assert words.ids(symbols.encode(text)) == wanted, (spec.text, text)
            merged += len(text) > len(wanted)
    assert merged > 1_000  # most texts had something to merge


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "qwen2", "tekken", "llama-bpe"])
def test_what_is_kept_encodes_alike(pre: str, tmp_path: Path) -> None:
    metadata = tokens.gguf_of(tokens.byte_level(pre), pre)
    fresh = Tokenizer.from_gguf(metadata, Limits(), tmp_path)
    found = kept.read(tmp_path, kept.key_of(metadata, Limits()))
    assert found is not None
    assert bool(found.merges) == (pre not in ("tekken", "llama-bpe"))  # those do more than merge
    again = Tokenizer.from_gguf(metadata, Limits(), tmp_path)
    for text in tokens.texts(seed=17, count=120):
        for special in (False, True):
            assert again.encode(text, special) == fresh.encode(text, special), text


_PLAIN = (
    *map(chr, range(128)), " ", "  ", "\n", "\n\n", "\r\n", "\t", " \n ", "'s", "'LL", "'Re",
    "the", "Fox", "12", "3", "!?", ");\n", "{\n    ", "<|im_end|>", "<tool_call>", "<|im_",
)  # fmt: skip
_PIECES = (*_PLAIN, "é", "e\u0301", "漢字\n", "\u00a0", "\u2003\n", "🙂")


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "qwen2"])
def test_passages_equal_the_library(pre: str, tmp_path: Path) -> None:
    """Random texts of all ASCII, of what the patterns name, and of other characters between."""
    metadata = tokens.gguf_of(tokens.byte_level(pre), pre)
    fresh = Tokenizer.from_gguf(metadata, Limits(), tmp_path)
    found = kept.read(tmp_path, kept.key_of(metadata, Limits()))
    assert found is not None
    spec, words = found.spec(), Words(found.merges, found.size)
    data = json.loads(spec.text)
    del data["model"]["vocab"][LETTER_OF[1]]  # as vocabularies do whose texts never held it
    plain = plain_of(json.dumps(data), found.added)
    assert plain is not None
    fast = Passages(words.merges, plain, found.added)
    draw, parts = random.Random(23), [0]

    def rest(part: str) -> list[int]:
        assert not part.isascii() or "\x01" in part
        parts[0] += 1
        return fresh.encode(part, special)

    for index in range(600):
        pieces = _PIECES if index % 2 else _PLAIN
        text = "".join(draw.choices(pieces, k=draw.randint(0, 60)))
        for special in (False, True):
            assert fast.encode(text, special, rest) == fresh.encode(text, special), text
    assert parts[0] > 300
    again = Tokenizer.from_gguf(metadata, Limits(), tmp_path)
    text = "".join(draw.choices(_PIECES, k=3_000))
    assert again.encode(text) == fresh.encode(text)


def test_merges_that_cannot_be_are_refused() -> None:
    rows = np.array([[0, 1, 0, 2], [0, 1, 1, 2]], np.uint32)
    for bad in (rows, rows[:1] + np.uint32(3)):  # a pair twice; ids beyond the vocabulary
        with pytest.raises(_core.CoreError, match="merges"):
            _core.Merges(bad.tobytes(), 3)
    with pytest.raises(_core.CoreError, match="ids"):
        _core.Merges(rows[:1].tobytes(), (1 << 32) - 1)
    with pytest.raises(_core.CoreError, match="words"):
        _core.Merges(rows[:1].tobytes(), 3).apply([0, 1], [0])
    assert _core.Merges(rows[:1].tobytes(), 3).apply([0, 1, 0, 9, 1], [0, 0, 1, 1, 1]) == [
        2,
        0,
        9,
        1,
    ]


def test_a_vocabulary_stays_in_its_file_until_somebody_looks() -> None:
    metadata = GgufFile.open(locate("smollm2-135m", progress=False)).metadata
    texts = metadata["tokenizer.ggml.tokens"]
    assert not isinstance(texts, list)
    assert len(texts) == len(metadata["tokenizer.ggml.token_type"]) > LONG
    assert (texts[:3], texts[-1]) == (texts.tolist()[:3], [*texts][-1])
    assert texts == [*texts] != [*texts[1:], ""]
    raw = bytes(texts.raw)
    assert raw == b"".join(len(t.encode()).to_bytes(8, "little") + t.encode() for t in texts)
