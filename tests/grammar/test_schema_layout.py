"""Fixed places of JSON tokens: `indent` and `separators` mean what json.dumps makes of them."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from byte_matcher import Language
from hypothesis import given, settings
from hypothesis import strategies as st
from schema_data import shuffled

from treadle.errors import InvalidRequest, LimitExceeded
from treadle.grammar import Grammar

ANY: dict[str, Any] = {}
NESTED = {
    "properties": {
        "name": {"type": "string"},
        "more": {"type": "array", "items": {"$ref": "#"}, "maxItems": 4},
        "tags": {"uniqueItems": True, "items": {"type": ["string", "integer"]}, "type": "array"},
        "kinds": {"contains": {"const": 1}, "type": "array"},
        "one of": {"enum": [{"a": [1, {"b": None}]}, [[], {}], "x"]},
    },
    "required": ["name"],
    "additionalProperties": {"type": ["object", "array", "null"]},
}
LAYOUTS: list[dict[str, Any]] = [
    {"separators": (", ", ": ")},
    {"separators": (",", ":")},
    {"separators": (" ,\n", "\t:")},
    {"indent": 0},
    {"indent": 2},
    {"indent": 3, "separators": (", ", ":")},
]
TEXTS = st.text(alphabet='ab, :{}[]"\n', max_size=4)
SCALARS = st.none() | st.booleans() | st.integers(-9, 99) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def spaced(text: str, rng: random.Random) -> str:
    """The text with one blank, line or tab more or less where strings allow none."""
    places, inside, skip = [0], False, False
    for at, char in enumerate(text):
        if char == '"' and not skip:
            inside = not inside
        skip = inside and not skip and char == "\\"
        if not inside and char != '"' and not char.isalnum() and char != "-":
            places.append(at)
    at = rng.choice(places)
    if text[at] in " \n\t" and rng.random() < 0.5:
        return text[:at] + text[at + 1 :]
    return text[:at] + rng.choice(" \n\t") + text[at:]


def written(value: Any, layout: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, **layout)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(VALUES, st.integers(0, 2**32))
def test_a_text_is_what_dumps_writes(layout: dict[str, Any], value: Any, seed: int) -> None:
    language = Language(Grammar.json_schema(ANY, **layout))
    text = written(value, layout)
    assert text in language
    rng = random.Random(seed)
    for _ in range(3):
        other = spaced(text, rng)
        assert (other in language) == (other == text), other


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_every_kind_of_array_and_object_is_laid_out(layout: dict[str, Any]) -> None:
    value = {
        "name": "n",
        "more": [{"name": "in", "more": [{"name": "deep", "more": []}], "k": {}}, {"name": ""}],
        "tags": ["a", 1, "b"],
        "kinds": [[0], 1, {"c": 2}],
        "one of": {"a": [1, {"b": None}]},
        "free": {"x": [[1, 2], []], "": {"y": {}}},
    }
    language = Language(Grammar.json_schema(NESTED, **layout))
    for seed in range(5):
        other = shuffled(value, random.Random(seed))
        assert written(other, layout) in language
    value["tags"] = ["a", 1, "a"]
    assert written(value, layout) not in language
    declared = Language(Grammar.json_schema(NESTED, order="declared", **layout))
    assert written({"name": "n", "kinds": [1]}, layout) in declared
    assert written({"kinds": [1], "name": "n"}, layout) not in declared
    stored = Language(Grammar.loads(Grammar.json_schema(NESTED, **layout).dumps()))
    assert written({"name": "n", "kinds": [1]}, layout) in stored
    assert written({"name": "n", "kinds": [1]}, {"indent": 7}) not in stored


def test_endless_values_end_and_empty_ones_are_found() -> None:
    """A value that stands deeper is another node; whether there is one must not depend on it."""
    endless = {"properties": {"a": {"$ref": "#"}}, "required": ["a"], "type": "object"}
    with pytest.raises(Exception, match="no value satisfies the schema"):
        Grammar.json_schema(endless, indent=2)
    tree = {"anyOf": [{"$ref": "#/$defs/pair"}, {"type": "null"}], "$defs": {}}
    tree["$defs"] = {"pair": {"type": "array", "items": {"$ref": "#"}, "minItems": 2}}
    language = Language(Grammar.json_schema(tree, indent=1))
    value: Any = None
    for _ in range(40):
        value = [None, value]
    assert written(value, {"indent": 1}) in language
    assert language.begins("[\n [\n  [\n   ")
    assert not language.begins("[\n [\n  [\n    ")


@pytest.mark.parametrize(
    ("layout", "error"),
    [
        ({"separators": (";", ":")}, InvalidRequest),
        ({"separators": (",", "::")}, InvalidRequest),
        ({"separators": ("", ":")}, InvalidRequest),
        ({"separators": (",x", ":")}, InvalidRequest),
        ({"separators": ("," + " " * 65, ":")}, LimitExceeded),
        ({"indent": 65}, LimitExceeded),
        ({"indent": -1}, InvalidRequest),
        ({"indent": 2, "whitespace": 3}, InvalidRequest),
    ],
    ids=str,
)
def test_what_is_no_layout(layout: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Grammar.json_schema(ANY, **layout)
