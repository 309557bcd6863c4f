"""Choices: exactly the strings that were given."""

from __future__ import annotations

import pytest
from byte_matcher import Language
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.errors import GrammarError
from treadle.grammar import Grammar

words = st.text("abé", max_size=5)


@settings(max_examples=100)
@given(st.lists(words, min_size=1, max_size=12), st.lists(words, max_size=12))
def test_choice_is_the_set(chosen: list[str], others: list[str]) -> None:
    language = Language(Grammar.choice(chosen))
    for word in chosen + others:
        assert (word in language) == (word in chosen)
        assert language.begins(word) == any(c.startswith(word) for c in chosen)


def test_many_strings_share_prefixes() -> None:
    words = [f"/api/v{i % 7}/item-{i}" for i in range(50_000)]
    language = Language(Grammar.choice(words))
    assert words[0] in language
    assert words[-1] in language
    assert "/api/v3/item-0" not in language
    assert not language.begins("/apo")


def test_nothing_to_choose_is_an_error() -> None:
    with pytest.raises(GrammarError) as caught:
        Language(Grammar.choice([]))
    assert caught.value.reason == "unsatisfiable"
