"""Tokenisers rebuilt from GGUF metadata, against the tokenisers they were written from."""

from __future__ import annotations

import argparse
import inspect
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokens

from treadle.errors import LimitExceeded, ModelFormatError
from treadle.limits import Limits
from treadle.text import Tokenizer
from treadle.text.gguf import pretokenisers
from treadle.types import TokenKind


@pytest.mark.parametrize("pre", sorted(pretokenisers()))
def test_byte_level_equals_the_tokenizer_it_describes(pre: str) -> None:
    source = tokens.byte_level(pre)
    if pretokenisers()[pre].nfc:
        from tokenizers import normalizers

        source.normalizer = normalizers.NFC()
    ours = Tokenizer.from_gguf(tokens.gguf_of(source, pre))
    for text in tokens.texts(seed=11, count=80):
        assert ours.encode(text, special=True) == source.encode(text).ids
    assert ours.table.stop_ids == (2, 0)
    assert (ours.bos_token, ours.eos_token, ours.adds_bos) == ("<|im_start|>", "<|im_end|>", False)


# Cuts worked out by hand from the families' published patterns.
@pytest.mark.parametrize(
    ("pre", "text", "cuts"),
    [
        ("gpt-2", "it's 2024  ok", ["it", "'s", " 2024", " ", " ok"]),
        ("smollm", "a 2024\n\nb", ["a", " ", "2", "0", "2", "4", "\n", "\n", "b"]),
        ("llama-bpe", "12345 DON'T", ["123", "45", " DON", "'T"]),
        ("qwen2", "123!\n\nx", ["1", "2", "3", "!\n\n", "x"]),
        ("tekken", "HelloWorld 12", ["Hello", "World", " ", "1", "2"]),
        ("gpt-4o", "I'veGone 1234", ["I've", "Gone", " ", "123", "4"]),
        ("deepseek-v3", "1234漢字ab", ["123", "4", "漢字", "ab"]),
    ],
)
def test_pretokenisers_cut_where_the_family_does(pre: str, text: str, cuts: list[str]) -> None:
    from tokenizers import Regex, pre_tokenizers

    rule = pretokenisers()[pre]
    splits = [pre_tokenizers.Split(Regex(p), "isolated") for p in rule.splits]
    found = pre_tokenizers.Sequence(splits).pre_tokenize_str(text)
    assert [piece for piece, _ in found] == cuts


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> sentencepiece.SentencePieceProcessor:
    folder = tmp_path_factory.mktemp("pieces")
    corpus = folder / "corpus.txt"
    corpus.write_text(
        "\n".join([*_prose(), *(line for t in tokens.CORPUS for line in t.split("\n"))])
    )
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(folder / "m"),
        model_type="bpe",
        vocab_size=1_500,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        user_defined_symbols=["<tool>"],
        character_coverage=0.98,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "m.model"))


def _metadata(pieces: sentencepiece.SentencePieceProcessor) -> dict[str, Any]:
    def kind(i: int) -> int:
        if pieces.is_unknown(i):
            return 2
        if pieces.is_control(i):
            return 3
        return 6 if pieces.is_byte(i) else 4 if pieces.id_to_piece(i) == "<tool>" else 1

    size = pieces.get_piece_size()
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [pieces.id_to_piece(i) for i in range(size)],
        "tokenizer.ggml.scores": [pieces.get_score(i) for i in range(size)],
        "tokenizer.ggml.token_type": [kind(i) for i in range(size)],
        "tokenizer.ggml.bos_token_id": pieces.bos_id(),
        "tokenizer.ggml.eos_token_id": pieces.eos_id(),
        "tokenizer.ggml.unknown_token_id": pieces.unk_id(),
    }


def _prose() -> list[str]:
    """A few thousand lines with enough words for merges to compete."""
    return inspect.getsource(argparse).splitlines()


def _spm_texts() -> list[str]:
    draw = random.Random(5)
    runs = ["".join(draw.choices("ab e\n", k=draw.randint(1, 30))) for _ in range(100)]
    # SentencePiece ends a text at NUL and finds user-defined symbols after adding its space
    found = [text for text in tokens.texts(seed=13, count=200) if "\x00" not in text]
    found += _prose()[::7]
    return [text for text in found + runs if "▁" not in text and not text.startswith("<tool>")]


def test_sentencepiece_equals_sentencepiece(
    pieces: sentencepiece.SentencePieceProcessor, tmp_path: Path
) -> None:
    ours = Tokenizer.from_gguf(_metadata(pieces), Limits(), tmp_path)
    again = Tokenizer.from_gguf(_metadata(pieces), Limits(), tmp_path)  # from what was kept
    assert ours.adds_bos
    assert ours.table.strip_space
    byte = pieces.piece_to_id("<0x0A>")
    assert (ours.table.kinds[byte], ours.table.data[byte]) == (TokenKind.BYTE, b"\n")
    for text in _spm_texts():
        expected = pieces.encode(text)
        assert ours.encode(text) == again.encode(text) == expected, text
        assert ours.decode(expected) == pieces.decode(expected), text


def test_sentencepiece_without_space_prefix_keeps_leading_spaces(
    pieces: sentencepiece.SentencePieceProcessor,
) -> None:
    ours = Tokenizer.from_gguf({**_metadata(pieces), "tokenizer.ggml.add_space_prefix": False})
    assert not ours.table.strip_space
    for text in (" lazy dog", "lazy dog", "  two", "日本 x\n"):
        assert ours.decode(ours.encode(text)) == text
    assert ours.table.data[ours.encode(" dog")[0]].startswith(b" ")


@pytest.fixture(scope="module")
def valid() -> dict[str, Any]:
    return tokens.gguf_of(tokens.byte_level("smollm", vocab=300), "smollm")


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("model", "t5", "kind 't5' is not supported; known kinds: gpt2, llama"),
        ("model", None, "expected a string, got nothing"),
        ("pre", "martian", "'martian' is not known; known: .*qwen2"),
        ("tokens", "abc", "expected an array, got str"),
        ("tokens", ["a", 3], r"tokens\[1\]: expected a string, got int"),
        ("tokens", ["a", "b", "a"], "holds 301 items, the vocabulary has 3 tokens"),
        ("token_type", [7] * 301, r"token_type\[0\]: is 7, expected 1 to 6"),
        ("token_type", [1, 1], "holds 2 items"),
        ("merges", ["nospace"], r"merges\[0\]: 'nospace' is not two pieces"),
        ("merges", ["Q 漢"], r"merges\[0\]: '漢' is not in the vocabulary"),
        ("merges", None, "the key is missing"),
        ("bos_token_id", 301, "token id 301 is outside the vocabulary of 301"),
        ("eos_token_id", -1, "token id -1 is outside"),
        ("eos_token_id", "2", "expected a token id, got str"),
        ("add_bos_token", 1, "expected a bool, got int"),
    ],
)
def test_hostile_metadata_is_named(
    valid: dict[str, Any], key: str, value: object, match: str
) -> None:
    metadata = {**valid, f"tokenizer.ggml.{key}": value}
    with pytest.raises(ModelFormatError, match=match) as error:
        Tokenizer.from_gguf(metadata)
    assert "tokenizer.ggml." in str(error.value)


def test_duplicate_and_oversized_pieces(valid: dict[str, Any]) -> None:
    texts = list(valid["tokenizer.ggml.tokens"])
    texts[200] = texts[100]
    with pytest.raises(ModelFormatError, match=r"tokens\[200\]: .* is already token 100"):
        Tokenizer.from_gguf({**valid, "tokenizer.ggml.tokens": texts})
    texts[200] = "x" * 5_000
    with pytest.raises(LimitExceeded, match="characters of a token is 5000"):
        Tokenizer.from_gguf({**valid, "tokenizer.ggml.tokens": texts})
    with pytest.raises(LimitExceeded, match="gguf_array_items"):
        Tokenizer.from_gguf(valid, Limits(gguf_array_items=100))


def test_scores_must_be_numbers(pieces: sentencepiece.SentencePieceProcessor) -> None:
    metadata = _metadata(pieces)
    scores = [float("nan"), *metadata["tokenizer.ggml.scores"][1:]]
    with pytest.raises(ModelFormatError, match="none of them NaN"):
        Tokenizer.from_gguf({**metadata, "tokenizer.ggml.scores": scores})


def test_unused_ids_spell_nothing(valid: dict[str, Any]) -> None:
    kinds = list(valid["tokenizer.ggml.token_type"])
    texts = [*valid["tokenizer.ggml.tokens"], "[PAD]", "[PAD]"]
    metadata = {
        **valid,
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.token_type": [*kinds, 5, 5],
    }
    ours = Tokenizer.from_gguf(metadata)
    assert ours.vocab_size == len(texts)
    assert [*ours.table.kinds[-2:]] == [TokenKind.UNUSED, TokenKind.UNUSED]
    assert ours.table.data[-1] == b""


def test_smollm2_equals_its_published_tokenizer(smollm_path: Path) -> None:
    """The oracle is put together from the library's own parts (digits one by one, GPT-2's byte
    level with its built-in pattern), as SmolLM2's tokenizer.json has them; transformers' GGUF
    loader ignores tokenizer.ggml.pre and joins digits."""
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Library
    from transformers import PreTrainedTokenizerFast

    from treadle.models import GgufFile

    metadata = GgufFile.open(smollm_path).metadata
    texts = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    made = Library(models.BPE({text: i for i, text in enumerate(texts)}, merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(text, special=True) for text in texts[:17]])
    oracle = PreTrainedTokenizerFast(tokenizer_object=made)
    ours = Tokenizer.from_gguf(metadata)
    assert (ours.vocab_size, ours.bos_token, ours.eos_token) == (
        49_152,
        "<|im_start|>",
        "<|im_end|>",
    )
    assert ours.table.stop_ids == (2, 0)
    for text in tokens.texts(seed=17, count=400):
        expected = oracle.encode(text, add_special_tokens=False)
        assert ours.encode(text, special=True) == expected, text
        assert ours.decode(expected) == oracle.decode(
            expected, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
