"""`numbers="plain"`: integers by their digits alone, every value still spelt, and all texts end."""

from __future__ import annotations

import json

import pytest
from byte_matcher import Language
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.errors import GrammarError
from treadle.grammar import Grammar


def language(**schema: object) -> Language:
    """Plain texts of a schema."""
    return Language(Grammar.json_schema(schema, numbers="plain"))


INTEGER, NUMBER = language(type="integer"), language(type="number")
AGE = language(type="integer", minimum=0, maximum=120)
SEVENS = language(type="integer", multipleOf=7, minimum=-50)


@settings(max_examples=300)
@given(st.integers(-(10**23), 10**23))
def test_every_integer_is_its_digits(value: int) -> None:
    assert str(value) in INTEGER
    assert str(value) in NUMBER
    assert (str(value) in AGE) == (0 <= value <= 120)
    assert (str(value) in SEVENS) == (value % 7 == 0 and value >= -50)


@settings(max_examples=300)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_is_written_as_python_writes_it(value: float) -> None:
    assert json.dumps(value) in NUMBER


def test_longer_spellings_are_not() -> None:
    for spelling in ("1.0", "1e0", "10e-1", "1.", "5E1"):
        assert spelling not in INTEGER
        assert spelling not in AGE
    assert "1." + "0" * 25 not in NUMBER
    assert "1" + "0" * 25 not in INTEGER


def test_a_bound_with_more_digits_keeps_its_values() -> None:
    digits = "1." + "3" * 30
    assert digits in Language(
        Grammar.json_schema(
            f'{{"type": "number", "minimum": {digits}, "maximum": {digits}}}', numbers="plain"
        )
    )
    assert "9" * 40 in Language(
        Grammar.json_schema(f'{{"type": "integer", "minimum": {"9" * 40}}}', numbers="plain")
    )


def test_an_integer_between_two_others_is_still_refused() -> None:
    with pytest.raises(GrammarError, match="no value"):
        language(type="integer", exclusiveMinimum=1, exclusiveMaximum=2)
