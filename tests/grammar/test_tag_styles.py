"""Argument styles: one object, written in every style, obeys its schema in the same way."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from byte_matcher import Language
from jsonschema import Draft202012Validator

from treadle.errors import GrammarError
from treadle.grammar import Grammar

Members = list[tuple[str, Any]]
KINDS = {str: "string", type(None): "null", bool: "boolean", int: "number", list: "array",
         dict: "object"}  # fmt: skip


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _qwen(key: str, value: Any) -> str:
    return f"<parameter={key}>\n{_plain(value)}\n</parameter>\n"


def _minimax(key: str, value: Any) -> str:
    return f'<parameter name="{key}">{_plain(value)}</parameter>\n'


def _m3(key: str, value: Any) -> str:
    mark = "]<]minimax[>["
    if isinstance(value, dict):
        text = "".join(_m3(k, v) for k, v in value.items())
    elif isinstance(value, list):
        text = "".join(_m3("item", v) for v in value)
    else:
        text = _plain(value)
    return f"{mark}<{key}>{text}{mark}</{key}>"


def _deepseek(space: str) -> Callable[[str, Any], str]:
    name = f"\uff5cDSML\uff5c{space}parameter"

    def write(key: str, value: Any) -> str:
        text = "true" if isinstance(value, str) else "false"
        return f'<{name} name="{key}" string="{text}">{_plain(value)}</{name}>\n'

    return write


def _glm(key: str, value: Any) -> str:
    return f"<arg_key>{key}</arg_key>\n<arg_value>{_plain(value)}</arg_value>\n"


def _cohere(key: str | None, value: Any) -> str:
    kind, text = "json", _plain(value)
    if isinstance(value, str):
        kind = "raw"
    elif isinstance(value, dict):
        kind, text = "dict", "".join(_cohere(k, v) for k, v in value.items())
    elif isinstance(value, list):
        kind, text = "list", "".join(_cohere(None, v) for v in value)
    name = "" if key is None else f' name="{key}"'
    return f'<cofl:value{name} type="{kind}">{text}</cofl:value>'


def _kimi(key: str, value: Any) -> str:
    kind = KINDS[type(value)]
    return (
        f'<|open|>argument key="{key}" type="{kind}"<|sep|>{_plain(value)}<|close|>argument<|sep|>'
    )


WRITERS: dict[str, Callable[[str, Any], str]] = {
    "qwen_xml": _qwen,
    "minimax_xml": _minimax,
    "minimax_m3_xml": _m3,
    "deepseek_xml": _deepseek(""),
    "deepseek_v4_1_xml": _deepseek(" "),
    "glm_xml": _glm,
    "cohere_xml": _cohere,
    "kimi_k3_xml": _kimi,
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "code": {"type": "string", "pattern": "^[A-Z]{2}[0-9]+$", "maxLength": 4},
        "unit": {"enum": ["km", "mi"]},
        "count": {"type": "integer", "minimum": -3, "maximum": 12},
        "flag": {"type": "boolean"},
        "none": {"type": "null"},
        "list": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "deep": {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"$ref": "#/properties/deep"}},
            "required": ["a"],
            "additionalProperties": False,
        },
    },
    "required": ["text", "count"],
    "additionalProperties": False,
    "dependentRequired": {"flag": ["none"]},
    "maxProperties": 6,
}
GOOD: dict[str, list[Any]] = {
    "text": ["", "hello", 'caf\u00e9 < tea > \n & "x"', "{}"],
    "code": ["AB1", "XY42"],
    "unit": ["km", "mi"],
    "count": [0, -3, 12],
    "flag": [True, False],
    "none": [None],
    "list": [[], ["a", "b"]],
    "deep": [{"a": "x"}, {"a": "", "b": {"a": "y"}}],
}
BAD: dict[str, list[Any]] = {
    "code": ["AB", "AB123", "ab1"],
    "unit": ["kmm", ""],
    "count": [13, "many"],
    "flag": ["yes"],
    "list": [["a", "b", "c"]],
    "deep": [{"b": {"a": "x"}}, {"a": "x", "c": "y"}],
}


def _language(style: str, schema: Any = SCHEMA, **options: Any) -> Language:
    content = {"type": "json_schema", "json_schema": schema, "style": style, **options}
    return Language(Grammar.tag({"type": "tag", "begin": "[", "content": content, "end": "]"}))


def _valid(members: Members) -> bool:
    keys = [key for key, _ in members]
    return (
        len(set(keys)) == len(keys) <= 6
        and {"text", "count"} <= set(keys)
        and ("flag" not in keys or "none" in keys)
        and all(value in GOOD[key] for key, value in members)
    )


@pytest.mark.parametrize("style", WRITERS)
@pytest.mark.parametrize("any_order", [True, False])
def test_members_obey_the_schema(style: str, any_order: bool) -> None:
    language = _language(style, any_order=any_order)
    draw = random.Random(style)
    order = list(GOOD)
    accepted = 0
    for _ in range(400):
        keys = draw.sample(order, draw.randrange(1, 7))
        keys = list({*keys, *draw.choice((["text", "count"], ["none", "text", "count"], []))})
        if draw.random() < 0.6:
            keys.sort(key=order.index)
        else:
            draw.shuffle(keys)
        if draw.random() < 0.1:
            keys.append(draw.choice(keys))
        members: Members = [(key, draw.choice(GOOD[key])) for key in keys]
        if draw.random() < 0.2:
            key = draw.choice(list(BAD))
            members = [(k, v) for k, v in members if k != key]
            members.append((key, draw.choice(BAD[key])))
        declared = [key for key, _ in members] == sorted({k for k, _ in members}, key=order.index)
        text = "[" + "".join(WRITERS[style](key, value) for key, value in members) + "]"
        expected = _valid(members) and (any_order or declared)
        assert (text in language) == expected, text
        accepted += expected
    assert accepted > 40


@pytest.mark.parametrize("style", WRITERS)
def test_open_objects_and_empty_ones(style: str) -> None:
    write = WRITERS[style]
    any_ = _language(style, {"type": "object", "properties": {"a": {"type": "string"}}})
    assert "[]" in any_
    assert "[" + write("a", "x") + "]" in any_
    assert ("[" + write("b", 3) + write("c d", "x") + "]" in any_) == (style != "minimax_m3_xml")
    none = _language(style, {"type": "object", "maxProperties": 0})
    assert "[]" in none
    assert "[" + write("a", "x") + "]" not in none
    notes = Grammar.tag({"type": "json_schema", "json_schema": True, "style": style}).notes
    assert [note.keyword for note in notes] == (["style"] if style == "minimax_m3_xml" else [])


COUNTED: list[dict[str, Any]] = [
    {"items": {"enum": [1, 2, "x"]}, "uniqueItems": True},
    {"items": {"enum": [1, 2, "x"]}, "uniqueItems": True, "minItems": 2},
    {"items": {"enum": [1, 2, "x"]}, "contains": {"const": 2}, "maxContains": 1},
    {"contains": {"const": "x"}, "minContains": 0, "maxContains": 1, "items": {"enum": [1, "x"]}},
    {"items": {"enum": [1, 2, [1]]}, "contains": {"type": "array"}, "minContains": 2},
    {"prefixItems": [{"const": 2}], "unevaluatedItems": {"enum": [1, [1]]}},
    {"not": {"items": {"type": "integer"}}, "items": {"enum": [1, 2, [1]]}},
]
DECIDED: list[dict[str, Any]] = [
    {"not": {"properties": {"a": {"const": 1}, "b": {"const": 2}}}},
    {"not": {"patternProperties": {"^[ab]$": {"const": 1}}}, "maxProperties": 2},
    {"not": {"propertyNames": {"enum": ["a", "c"]}}, "maxProperties": 2},
    {"anyOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"required": ["b"]}],
     "properties": {"b": {}}, "unevaluatedProperties": False},
    {"enum": [{"a": 1, "b": 2}, {"c": 3}, {}]},
]  # fmt: skip


def _agrees(style: str, schema: dict[str, Any], values: list[Any]) -> None:
    language = _language(style, schema, any_order=True)
    valid = Draft202012Validator(schema).is_valid
    answers: set[bool] = set()
    for value in values:
        text = "[" + "".join(WRITERS[style](key, part) for key, part in value.items()) + "]"
        expected = valid(value)
        assert (text in language) == expected, text
        answers.add(expected)
    assert answers == {True, False}


@pytest.mark.parametrize("style", WRITERS)
def test_counted_items(style: str) -> None:
    lists = [
        list(items) for n in range(4) for items in itertools.product([1, 2, "x", [1]], repeat=n)
    ]
    for counted in COUNTED:
        array = {"type": "array", **counted}
        schema = {"type": "object", "properties": {"l": array}, "required": ["l"]}
        _agrees(style, {**schema, "additionalProperties": False}, [{"l": one} for one in lists])


@pytest.mark.parametrize("style", WRITERS)
def test_keys_and_values_that_decide(style: str) -> None:
    values = [
        dict(zip(keys, numbers, strict=True))
        for n in range(4)
        for keys in itertools.permutations("abc", n)
        for numbers in itertools.product([1, 2, 3], repeat=n)
    ]
    plain = {key: {"type": "integer"} for key in "abc"}
    for decided in DECIDED:
        closed = {"type": "object", "properties": plain, "additionalProperties": False}
        _agrees(style, {"allOf": [closed], **decided}, values)


@pytest.mark.parametrize("style", WRITERS)
def test_excludes_bar_strings_and_keys(style: str) -> None:
    write = WRITERS[style]
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b<no>": {}, "l": {"type": "array"}},
    }
    language = _language(style, schema, excludes=["NO", "<no>"])
    assert "[" + write("a", "no NN O") + write("l", ["x"]) + "]" in language
    assert "[" + write("a", "x NO") + "]" not in language
    assert "[" + write("a", "<no>") + "]" not in language
    assert "[" + write("l", ["NO"]) + "]" not in language
    assert "[" + write("NOT", "x") + "]" not in language


@pytest.mark.parametrize(
    ("style", "schema", "reason", "at"),
    [
        ("xml", {}, "syntax", "/style"),
        ("qwen_xml", {"type": "string"}, "unsatisfiable", "/json_schema"),
        ("glm_xml", {"type": "object", "required": ["<a>"]}, "unsatisfiable", "/json_schema"),
    ],
)
def test_what_a_style_cannot_write_is_refused(
    style: str, schema: Any, reason: str, at: str
) -> None:
    with pytest.raises(GrammarError) as caught:
        Grammar.tag({"type": "json_schema", "json_schema": schema, "style": style})
    assert (caught.value.reason, caught.value.at) == (reason, at)


def test_the_old_qwen_format_is_the_style() -> None:
    old = Language(Grammar.tag({"type": "qwen_xml_parameter", "json_schema": SCHEMA}))
    assert _qwen("text", "x") + _qwen("count", 1) in old
    assert _qwen("text", "x") not in old


def test_excludes_hold_in_listed_values_and_keys_of_json() -> None:
    content = {"type": "json_schema", "excludes": ["xx", '"k"']}

    def language(schema: Any) -> Language:
        tagged = {**content, "json_schema": schema}
        return Language(Grammar.tag({"type": "tag", "begin": "<", "content": tagged, "end": ">"}))

    listed = language({"type": "array", "items": {"enum": [["xx"], "xxy", 1]}, "uniqueItems": True})
    assert "<[1]>" in listed
    assert '<["x\\u0078y",["\\u0078x"],1]>' in listed
    for text in ('<[["xx"]]>', '<["xxy"]>', "<[1,1]>"):
        assert text not in listed
    keyed = language({"properties": {"xxk": {"const": 1}}, "not": {"properties": {"xxk": False}}})
    assert '<{"x\\u0078k":1}>' in keyed
    assert '<{"xxk":1}>' not in keyed
    assert "<{}>" not in keyed
