"""The tokeniser against transformers, and what it promises about control tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokens
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from treadle.errors import InvalidRequest, LimitExceeded, ModelFormatError
from treadle.limits import Limits
from treadle.text import Tokenizer
from treadle.types import TokenKind

CONFIG = {"bos_token": None, "eos_token": "<|im_end|>", "eos_token_id": [2, 0]}


@pytest.fixture(scope="module")
def made() -> Tokenizer:
    return Tokenizer.from_json(tokens.byte_level("qwen2").to_str().encode(), CONFIG)


@pytest.mark.parametrize("pre", ["qwen2", "llama-bpe", "smollm", "tekken"])
def test_encode_and_decode_equal_transformers(pre: str) -> None:
    source = tokens.byte_level(pre)
    oracle = PreTrainedTokenizerFast(tokenizer_object=source)
    ours = Tokenizer.from_json(source.to_str().encode(), CONFIG)
    for text in tokens.texts(seed=7, count=300):
        parsed = oracle.encode(text, add_special_tokens=False)
        plain = oracle.encode(text, add_special_tokens=False, split_special_tokens=True)
        assert ours.encode(text, special=True) == parsed
        assert ours.encode(text) == plain
        for skip in (True, False):
            expected = oracle.decode(
                parsed, skip_special_tokens=skip, clean_up_tokenization_spaces=False
            )
            assert ours.decode(parsed, skip_special=skip) == expected
        assert ours.decode(plain) == text


@settings(max_examples=200)
@given(st.lists(st.one_of(st.text(max_size=8), st.sampled_from(tokens.SPECIAL)), max_size=6))
def test_plain_text_never_becomes_a_control_token(made: Tokenizer, parts: list[str]) -> None:
    text = "".join(parts)
    ids = made.encode(text)
    assert all(made.table.kinds[i] != TokenKind.CONTROL for i in ids)
    assert made.decode(ids) == text


def test_merges_that_reach_a_control_token_are_spelled_out() -> None:
    source = json.loads(tokens.byte_level("llama-bpe").to_str())
    word = next(p for p in source["model"]["vocab"] if len(p) == 5 and p.isascii() and p.isalpha())
    number = source["model"]["vocab"][word]
    ours = Tokenizer.from_json(json.dumps(source).encode(), {"eos_token_id": number})
    assert ours.table.stop_ids[0] == number
    ids = ours.encode(f"{word} {word}")
    assert number not in ids
    assert ours.decode(ids) == f"{word} {word}"


def test_table_spells_what_the_ids_decode_to(made: Tokenizer) -> None:
    for text in tokens.texts(seed=3, count=100):
        ids = made.encode(text)
        assert b"".join(made.table.data[i] for i in ids) == text.encode()
    assert made.table.stop_ids == (2, 0)
    assert made.table.kinds[0] == TokenKind.CONTROL
    assert made.table.kinds[made.vocab_size - 1] == TokenKind.NORMAL  # <tool_call>
    assert (made.bos_token, made.eos_token, made.token_id("<|im_start|>")) == ("", "<|im_end|>", 1)


def test_bos_comes_from_the_post_processor_and_is_not_doubled(tmp_path: Path) -> None:
    source = json.loads(tokens.byte_level("llama-bpe").to_str())
    name = tokens.SPECIAL[1]
    source["post_processor"] = {
        "type": "Sequence",
        "processors": [
            {
                "type": "TemplateProcessing",
                "single": [
                    {"SpecialToken": {"id": name, "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                ],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
                "special_tokens": {name: {"id": name, "ids": [1], "tokens": [name]}},
            }
        ],
    }
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(source))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "!"}}))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2]}))
    ours = Tokenizer.from_json(file)
    assert ours.adds_bos
    assert ours.encode("hi", bos=True)[0] == 1
    assert ours.encode(f"{name}hi", special=True, bos=True).count(1) == 1
    assert ours.table.stop_ids[:2] == (source["model"]["vocab"]["!"], 2)
    without = Tokenizer.from_json(file, {"add_bos_token": False})
    assert not without.adds_bos
    assert ours.hash != without.hash


def test_bad_input_is_named(made: Tokenizer) -> None:
    with pytest.raises(InvalidRequest, match="lone surrogate"):
        made.encode("a\ud800b")
    with pytest.raises(InvalidRequest, match="outside the vocabulary"):
        made.decode([made.vocab_size])
    with pytest.raises(InvalidRequest, match="no token that begins"):
        made.encode("a", bos=True)


def _broken(**changes: object) -> bytes:
    source = json.loads((Path(__file__).parent / "byte256.json").read_text())
    for path, value in changes.items():
        part = source
        *head, last = path.split("__")
        for key in head:
            part = part[key]
        part[last] = value
    return json.dumps(source).encode()


@pytest.mark.parametrize(
    ("raw", "match"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b"[]", "expected a JSON object"),
        (b'{"a": 1, "a": 2}', "'a' appears twice"),
        (b"[" * 100_000, "nested too deeply|not JSON"),
        (_broken(model=None), "no model object"),
        (_broken(model__type="WordPiece"), "'WordPiece' is not supported"),
        (_broken(model__vocab=[]), "vocab is not an object"),
        (_broken(model__vocab={"a": 1 << 31}), "has id 2147483648"),
        (_broken(model__vocab={"a": True}), "has id True"),
        (_broken(model__merges=[["q", "zz"]]), "tokenizers library refuses"),
        (_broken(added_tokens=[{"id": 999, "content": "<|eos|>", "special": True}]), "refuses|999"),
        (_broken(added_tokens=[{"id": 1}]), r"added_tokens\[0\].content"),
        (_broken(added_tokens=3), "not a list of objects"),
        (_broken(decoder=None), "decoder none is not supported"),
        (_broken(decoder={"type": "CTC"}), r"decoder \['CTC'\] is not supported"),
        (_broken(decoder={"type": "Replace", "pattern": {"Regex": "a"}, "content": ""}), "Replace"),
    ],
)
def test_malformed_files_are_model_format_errors(raw: bytes, match: str) -> None:
    with pytest.raises(ModelFormatError, match=match):
        Tokenizer.from_json(raw, {})


def test_every_truncation_is_a_typed_error() -> None:
    raw = (Path(__file__).parent / "byte256.json").read_bytes()
    for size in range(0, len(raw.rstrip()), 97):
        with pytest.raises(ModelFormatError):
            Tokenizer.from_json(raw[:size], {})


def test_size_limit_and_bad_eos() -> None:
    raw = _broken()
    with pytest.raises(LimitExceeded, match="tokenizer_bytes"):
        Tokenizer.from_json(raw, {}, Limits(tokenizer_bytes=100))
    with pytest.raises(ModelFormatError, match="outside the vocabulary of 257"):
        Tokenizer.from_json(raw, {"eos_token_id": 257})
    with pytest.raises(ModelFormatError, match="expected token ids"):
        Tokenizer.from_json(raw, {"eos_token_id": "x"})
