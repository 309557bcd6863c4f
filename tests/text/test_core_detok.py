"""The core's detokeniser against Python's own decoder, over bytes cut anywhere."""

from __future__ import annotations

import codecs
from array import array
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle import _core

# Bytes near the borders of UTF-8's table, where decoders differ.
byte = st.sampled_from(list(b"A \x80\x8f\x90\x9f\xa0\xbf\xc1\xc2\xdf\xe0\xed\xef\xf0\xf4\xf5\xff"))
pieces = st.lists(st.lists(byte, max_size=4).map(bytes) | st.text(max_size=2).map(str.encode))


@settings(max_examples=400)
@given(pieces)
def test_any_cut_gives_what_python_decodes(data: list[bytes]) -> None:
    detok = _core.Detokeniser(_core.TokenBytes(data))
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    ours = theirs = ""
    for i, piece in enumerate(data):
        ours += detok.push([i])
        theirs += decoder.decode(piece)
        # never later than Python's; sooner where bytes can no longer become a character
        assert ours.startswith(theirs)
    assert ours + detok.flush() == theirs + decoder.decode(b"", final=True)
    everything = detok.push(range(len(data))) + detok.flush()
    assert everything == b"".join(data).decode(errors="replace")


@settings(max_examples=100)
@given(pieces)
def test_one_leading_space_is_stripped(data: list[bytes]) -> None:
    detok = _core.Detokeniser(data, strip_space=True)
    whole = b"".join(data).decode(errors="replace")
    for _ in range(2):  # flush makes it as new
        text = detok.push(range(len(data))) + detok.flush()
        assert text == whole.removeprefix(" ")


@settings(max_examples=100)
@given(pieces, st.sets(st.integers(0, 12)))
def test_a_table_is_the_sequence_it_was_made_of(data: list[bytes], silent: set[int]) -> None:
    ends = array("I", accumulate(map(len, data)))
    table = _core.TokenBytes.joined(b"".join(data), memoryview(ends).cast("B"))
    assert [*table] == data
    assert table == data
    assert table == _core.TokenBytes(data)
    assert table != [*data, b""]
    shown = [b"" if i in silent else piece for i, piece in enumerate(data)]
    assert table.without([*silent]) == shown
    assert table.without([*silent]).without([]) == shown
    assert table == data


def test_a_table_whose_ends_do_not_fit_is_refused() -> None:
    for ends in ([2, 1, 3], [1, 2], [4], []):
        with pytest.raises(_core.CoreError, match="ends"):
            _core.TokenBytes.joined(b"abc", memoryview(array("I", ends)).cast("B"))
