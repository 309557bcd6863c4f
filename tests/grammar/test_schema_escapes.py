"""`escapes="minimal"`: one spelling a character, and every text still has one."""

from __future__ import annotations

import json

from byte_matcher import Language
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.grammar import Grammar

TEXT = Language(Grammar.json_schema({"type": "string"}, escapes="minimal"))
LETTERS = Language(Grammar.json_schema({"type": "string", "pattern": "^."}, escapes="minimal"))
SCHEMA = {
    "type": "object",
    "properties": {"a/b": {"enum": ["é\n"]}},
    "required": ["a/b"],
    "additionalProperties": False,
}
OBJECT = Language(Grammar.json_schema(SCHEMA, escapes="minimal"))
LONG = ("\\/", "\\u0061", "\\u00e9", "\\u000a", "\\ud83d\\ude00", "\\u0022", "\\u005c")


@settings(max_examples=300)
@given(st.text(st.characters(codec="utf-8"), max_size=8))
def test_the_shortest_spelling_of_any_text_is_there(text: str) -> None:
    spelt = json.dumps(text, ensure_ascii=False)
    assert spelt in TEXT
    assert (spelt in LETTERS) == (text[:1] not in ("", "\n", "\r", "\u2028", "\u2029"))


def test_longer_spellings_are_not() -> None:
    for spelling in LONG:
        assert f'"{spelling}"' not in TEXT
        assert f'"{spelling}"' not in LETTERS
        assert f'"a{spelling}"' not in LETTERS
    assert '"\\u0001"' in TEXT
    assert '"\\u0001"' in LETTERS


def test_keys_and_enumerated_texts_have_one_spelling() -> None:
    assert '{"a/b":"é\\n"}' in OBJECT
    for other in ('{"a\\/b":"é\\n"}', '{"\\u0061/b":"é\\n"}', '{"a/b":"\\u00e9\\n"}'):
        assert other not in OBJECT
