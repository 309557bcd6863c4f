"""Formats over whole tokens: what is read, what is refused. Stepping them needs a vocabulary."""

from __future__ import annotations

from typing import Any

import pytest

from treadle.errors import GrammarError
from treadle.grammar import Grammar

Format = dict[str, Any]

TEXT: Format = {"type": "const_string", "value": "x"}


def _call(begin: Any, end: Any = "</call>") -> Format:
    return {"type": "tag", "begin": begin, "content": TEXT, "end": end}


def _token(which: int | str) -> Format:
    return {"type": "token", "token": which}


@pytest.mark.parametrize(
    "format_",
    [
        _token(3),
        _token("<|call|>"),
        {"type": "exclude_token"},
        {"type": "exclude_token", "exclude_tokens": [1, "<|end|>", 1]},
        {"type": "any_tokens", "exclude_tokens": ["<|end|>"], "max_tokens": 4},
        {"type": "any_tokens", "max_tokens": None},
        _call(_token(7), [_token("<|end|>"), "</x>"]),
        {"type": "token_triggered_tags", "trigger_tokens": [7, "<a>"], "exclude_tokens": [8],
         "tags": [_call(_token(7)), _call(_token("<a>"), _token(9))], "at_least_one": True},
        {"type": "token_dispatch", "rules": [[7, TEXT], ["<b>", TEXT]], "loop": False},
        {"type": "tags_with_separator", "separator": "", "tags": [_call(_token(1)), _call("<c>")]},
    ],
)  # fmt: skip
def test_token_formats_are_read(format_: Format) -> None:
    grammar = Grammar.tag({"type": "structural_tag", "format": format_})
    assert grammar.kind == "structural_tag"


@pytest.mark.parametrize(
    ("format_", "at"),
    [
        (_token(-1), "/format/token"),
        (_token(""), "/format/token"),
        ({"type": "token"}, "/format/token"),
        ({"type": "token", "token": 1, "text": "a"}, "/format/text"),
        ({"type": "any_tokens", "exclude_tokens": [None]}, "/format/exclude_tokens/0"),
        ({"type": "any_tokens", "max_tokens": -2}, "/format/max_tokens"),
        (_call({"type": "regex", "pattern": "a"}), "/format/begin"),
        (_call("<a>", ["<b>", ""]), "/format/end/1"),
        ({"type": "triggered_tags", "triggers": ["<"], "tags": [_call(_token(3))]},
         "/format/tags/0/begin"),
        ({"type": "token_triggered_tags", "trigger_tokens": [1], "tags": [_call("<c>")]},
         "/format/tags/0/begin"),
        ({"type": "token_triggered_tags", "trigger_tokens": [1], "tags": [_call(_token(2))]},
         "/format/tags/0/begin"),
        ({"type": "token_triggered_tags", "trigger_tokens": [1, 2, 1], "tags": [_call(_token(1))]},
         "/format/trigger_tokens/2"),
        ({"type": "token_dispatch", "rules": [[5, TEXT]], "exclude_tokens": [5]},
         "/format/rules/0/0"),
        ({"type": "token_dispatch", "rules": []}, "/format/rules"),
    ],
)  # fmt: skip
def test_token_formats_are_checked(format_: Format, at: str) -> None:
    with pytest.raises(GrammarError) as caught:
        Grammar.tag({"type": "structural_tag", "format": format_})
    assert (caught.value.reason, caught.value.at) == ("syntax", at)
