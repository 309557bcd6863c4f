"""Incremental text against decoding the whole at once, and stop strings against `str.find`."""

from __future__ import annotations

import random

import pytest
import tokens
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.errors import InvalidRequest
from treadle.text import Spellings, StopSearch, Tokenizer


@pytest.fixture(scope="module")
def made() -> Tokenizer:
    return Tokenizer.from_gguf(tokens.gguf_of(tokens.byte_level("smollm"), "smollm"))


def test_pieces_join_to_the_whole_text(made: Tokenizer) -> None:
    for text in tokens.texts(seed=21, count=200):
        ids = made.encode(text)
        detokeniser = Spellings(made.table).detokeniser()
        pieces = [detokeniser.push([i]) for i in ids]
        assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text
        assert "".join(pieces) + detokeniser.flush() == text


def test_any_ids_give_what_decode_gives(made: Tokenizer) -> None:
    draw = random.Random(2)
    for _ in range(300):
        ids = [draw.randrange(made.vocab_size) for _ in range(draw.randrange(12))]
        detokeniser = Spellings(made.table).detokeniser()
        cut = draw.randrange(len(ids) + 1)
        text = detokeniser.push(ids[:cut]) + detokeniser.push(ids[cut:]) + detokeniser.flush()
        assert text == made.decode(ids)


def test_control_tokens_show_only_when_kept(made: Tokenizer) -> None:
    ids = made.encode("<|im_start|>hi<|im_end|>", special=True)
    assert Spellings(made.table).detokeniser().push(ids) == "hi"
    kept = made.token_id("<|im_end|>")
    assert kept is not None
    assert Spellings(made.table).detokeniser([kept]).push(ids) == "hi<|im_end|>"


@settings(max_examples=300)
@given(
    st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4),
    st.lists(st.text("abc", max_size=4), max_size=8),
)
def test_stop_strings_end_the_text_where_they_first_complete(
    stops: list[str], pieces: list[str]
) -> None:
    text = "".join(pieces)
    ends = [(text.find(stop) + len(stop), -len(stop), stop) for stop in stops if stop in text]
    search = StopSearch(stops)
    shown, hit = "", None
    for piece in pieces:
        emitted, found = search.push(piece)
        shown += emitted
        hit = hit or found
        assert text.startswith(shown)
    shown += search.flush()
    if ends:
        end, _, stop = min(ends)
        assert (shown, hit) == (text[: end - len(stop)], stop)
    else:
        assert (shown, hit) == (text, None)


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"stop\[1\]: is empty"):
        StopSearch(["a", ""])
