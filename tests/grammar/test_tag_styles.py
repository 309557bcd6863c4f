"""Argument styles: one object, written in every style, obeys its schema in the same way."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from byte_matcher import Language

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
