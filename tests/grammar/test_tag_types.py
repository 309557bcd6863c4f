"""The typed dicts of structural tags say what the core takes: names, fields, which are needed."""

from __future__ import annotations

import typing
from typing import Any

import pytest

from treadle.errors import GrammarError
from treadle.grammar import Grammar, tag

KINDS: list[Any] = list(typing.get_args(tag.Format))
TEXT = {"type": "const_string", "value": "x"}
BYTES_TAG = {"begin": "<", "content": TEXT, "end": ">"}
TOKEN_TAG = {"begin": {"type": "token", "token": 1}, "content": TEXT, "end": ">"}
VALUES: dict[str, Any] = {
    "value": "x", "pattern": "x", "grammar": 'root ::= "x"', "json_schema": {"type": "object"},
    "style": "glm_xml", "any_order": True, "max_whitespace_cnt": 3, "excludes": ["no"],
    "max_tokens": 3, "max_chars": 4, "elements": [TEXT], "content": TEXT, "min": 1, "max": -1,
    "begin": "<", "end": [">"], "triggers": ["<"], "tags": [BYTES_TAG], "at_least_one": True,
    "stop_after_first": True, "separator": ",", "rules": [["<", TEXT]], "loop": False,
    "token": "<a>", "exclude_tokens": [2], "trigger_tokens": [1],
}  # fmt: skip


def _name(kind: Any) -> str:
    return typing.get_args(typing.get_type_hints(kind)["type"])[0]


def _full(kind: Any) -> dict[str, Any]:
    fields = {field: VALUES[field] for field in typing.get_type_hints(kind) if field != "type"}
    if kind is tag.TokenTriggeredTags:
        fields["tags"] = [TOKEN_TAG]
    return {"type": _name(kind), **fields}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_fields_are_those_of_the_core(kind: Any) -> None:
    full = _full(kind)
    Grammar.tag(full)
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in set(full) - {"type"}:
        less = {key: value for key, value in full.items() if key != field}
        if typing.get_origin(hints[field]) is not typing.NotRequired:
            with pytest.raises(GrammarError) as caught:
                Grammar.tag(less)
            assert caught.value.at == f"/{field}"
        else:
            Grammar.tag(less)
    with pytest.raises(GrammarError) as caught:
        Grammar.tag({**full, "colour": 1})
    assert caught.value.at == "/colour"


def test_every_style_is_known() -> None:
    for style in typing.get_args(tag.Style):
        Grammar.tag({"type": "json_schema", "json_schema": {}, "style": style})
