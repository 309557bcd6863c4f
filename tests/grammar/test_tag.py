"""Structural tags against a reader that searches the text for triggers, and every refusal."""

from __future__ import annotations

import itertools
import json
import re
import time
from typing import Any

import pytest
from byte_matcher import Language
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.errors import GrammarError
from treadle.grammar import Grammar

Format = dict[str, Any]


def _language(format_: Format) -> Language:
    return Language(Grammar.tag({"type": "structural_tag", "format": format_}))


def _tag(begin: str, content: Format, end: str | list[str]) -> Format:
    return {"type": "tag", "begin": begin, "content": content, "end": end}


def _text(value: str) -> Format:
    return {"type": "const_string", "value": value}


NUMBER: Format = {"type": "regex", "pattern": "[0-9]+"}


def test_combinators() -> None:
    language = _language(
        {
            "type": "sequence",
            "elements": [
                {"type": "optional", "content": _text("o")},
                {"type": "or", "elements": [_text("x"), NUMBER]},
                {"type": "star", "content": _text(",")},
                {"type": "plus", "content": _text(";")},
                {"type": "repeat", "min": 1, "max": 2, "content": _text("r")},
                {"type": "repeat", "min": 0, "max": -1, "content": _text("s")},
                {"type": "grammar", "grammar": 'root ::= "<" root ">" | ""'},
            ],
        }
    )
    pattern = re.compile(r"o?(?:x|[0-9]+),*;+r{1,2}s*")
    for text in ("ox;r", "12,,;;rrsss", "x;", "x,r", "oo1;r", "x;rrr"):
        assert (text in language) == (pattern.fullmatch(text) is not None)
    assert "x;r<<>>" in language
    assert "x;r<<>" not in language


def test_text_avoids_excludes_and_the_end_of_its_tag() -> None:
    text: Format = {"type": "any_text", "excludes": ["<x", "no"]}
    language = _language(_tag("<think>", text, ["</think>", "<eot>"]))
    for inside in ("", "é😀 < x", "</thin", "n o", "<</think"):
        assert f"<think>{inside}</think>" in language
        assert f"<think>{inside}<eot>" in language
    for inside in ("<x>", "a no b", "a</think>b", "<eot>"):
        assert f"<think>{inside}</think>" not in language
    nested = _language(_tag("[", {"type": "sequence", "elements": [{"type": "any_text"}]}, "]"))
    assert "[a]" in nested
    assert "[a]]" not in nested


@settings(max_examples=80)
@given(
    st.lists(st.text("ab\u00e9\u00e8\u20ac", min_size=1, max_size=3), min_size=1, max_size=5),
    st.lists(st.text("ab\u00e9\u00e8\u20acx", max_size=6), min_size=1, max_size=20),
    st.integers(0, 4),
)
def test_free_text_is_text_without_the_words(
    words: list[str], texts: list[str], limit: int
) -> None:
    language = _language({"type": "any_text", "excludes": words})
    short = _language({"type": "any_text", "excludes": words, "max_chars": limit})
    for text in texts:
        free = not any(word in text for word in words)
        assert (text in language) == free
        assert (text in short) == (free and len(text) <= limit)
        data = text.encode()
        for cut in range(len(data)):  # half a character is a text only with its other half
            assert (data[:cut] in language) == (
                _is_text(data[:cut]) and not any(w.encode() in data[:cut] for w in words)
            )


def _is_text(data: bytes) -> bool:
    try:
        return bool(data.decode() or not data)
    except UnicodeDecodeError:
        return False


def test_a_character_that_cannot_be_completed_is_not_begun() -> None:
    words = [chr(0xC0 + i) for i in range(64)]  # every character that begins with the byte C3
    language = _language({"type": "any_text", "excludes": words})
    assert "\u00bf\u0100" in language
    assert not language.begins_with(b"\xc3")
    open_ = _language({"type": "any_text", "excludes": words[1:]})
    assert "\u00c0" in open_
    assert open_.begins_with(b"\xc3")
    assert not open_.begins_with(b"\xc3\x81")


ALPHABET = ["<", "a", "b", ">", "t"]
TEXTS = ["".join(t) for n in range(6) for t in itertools.product(ALPHABET, repeat=n)]


def _reads(item: Format, text: str) -> bool:
    """Triggered tags by scanning: the first trigger that is complete begins a tag or fails."""
    tags = [re.compile(re.escape(t["begin"]) + "t*" + re.escape(t["end"])) for t in item["tags"]]
    fresh = item["at_least_one"]
    while True:
        start = 0
        if not fresh:
            words = [w for w in item["triggers"] + item["excludes"] if w in text]
            if not words:
                return True
            first = min(words, key=lambda w: (text.index(w) + len(w), -len(w)))
            if first not in item["triggers"]:
                return False
            start = text.index(first)
        # The begins and ends are such that at most one tag matches here, in one way.
        found = next((m for tag in tags if (m := tag.match(text, start))), None)
        if found is None:
            return False
        text = text[found.end() :]
        fresh = False
        if item["stop_after_first"]:
            return not text


@settings(max_examples=60)
@given(
    st.sampled_from([["<"], ["<a", "b"], ["aa"], ["<a", "<b"], ["ab", "ba"]]),
    st.sampled_from([[], [">>"], ["ta", ">b"], ["bb"]]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 4),
)
def test_triggered_tags_agree_with_a_scan(
    triggers: list[str], excludes: list[str], first: bool, once: bool, start: int
) -> None:
    tags = [_tag(t + m, {"type": "regex", "pattern": "t*"}, e)
            for t in triggers for m, e in (("", ">"), ("a", "b>"))]  # fmt: skip
    if any(x in t for x in excludes for t in triggers):
        return
    item: Format = {
        "type": "triggered_tags", "triggers": triggers, "tags": tags, "excludes": excludes,
        "at_least_one": first, "stop_after_first": once,
    }  # fmt: skip
    language = _language(item)
    for text in TEXTS[start::5]:
        assert (text in language) == _reads(item, text), text


@pytest.mark.parametrize("loop", [True, False])
def test_dispatch_is_triggered_tags_without_ends(loop: bool) -> None:
    rules = [["<n>", NUMBER], ["<", _text("t")], ["bb", _text(">")]]
    if any(a[0] != b[0] and b[0].startswith(a[0]) for a in rules for b in rules):
        rules[1][0] = "<t"
    item: Format = {"type": "dispatch", "rules": rules, "loop": loop, "excludes": ["ta"]}
    language = _language(item)
    more = "(?:(?!ta|<n>|<t|bb)[<abt>n0-9])*"
    entry = "(?:<n>[0-9]+|<tt|bb>)"
    pattern = re.compile(f"{more}(?:{entry}{more})*" if loop else f"{more}{entry}?")
    # The free text before an entry may run into it only where no trigger ends earlier.
    for text in ("", "a<n>1", "<n>12<tt", "bb>", "bbb>", "<n>x", "ta", "t<tta", "<tta", "<ttbb>a"):
        assert (text in language) == (pattern.fullmatch(text) is not None), text
    assert ("<n>1a<n>2" in language) == loop


def test_two_hundred_triggers_cost_parse_time_only() -> None:
    names = [f"<function=tool_{i}_{i * i % 97}>" for i in range(200)]
    tags = [_tag(name, {"type": "json_schema", "json_schema": True}, "</function>")
            for name in names]  # fmt: skip
    item: Format = {"type": "triggered_tags", "triggers": names, "tags": tags}
    language = _language(item)
    text = "".join(f"word < {name}{{}}</function>" for name in names)
    start = time.perf_counter()
    assert text in language
    assert time.perf_counter() - start < 5
    assert text + names[0] not in language


def test_triggers_inside_a_tag_leave_its_end_open() -> None:
    call = _tag("<c>", NUMBER, "</c>")
    outer = _tag("<out>", {"type": "triggered_tags", "triggers": ["<c"], "tags": [call]}, "</out>")
    language = _language(outer)
    for inside in ("", "text", "a<c>1</c>b<c>22</c>", "</ou"):
        assert f"<out>{inside}</out>" in language
    for inside in ("<c>x</c>", "<c", "</out>", "<c>1"):
        assert f"<out>{inside}</out>" not in language


def test_separated_tags_and_schemas() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    calls = [_tag(f"<{name}>", {"type": "json_schema", "json_schema": schema}, "</>")
             for name in ("get", "set")]  # fmt: skip
    item: Format = {"type": "tags_with_separator", "tags": calls, "separator": ", "}

    def call(name: str, n: object) -> str:
        return f"<{name}>{json.dumps({'n': n})}</>"

    two = f"{call('get', 1)}, {call('set', -20)}"
    for at_least_one, once in itertools.product((False, True), repeat=2):
        language = _language({**item, "at_least_one": at_least_one, "stop_after_first": once})
        assert ("" in language) == (not at_least_one)
        assert call("set", 3) in language
        assert (two in language) == (not once)
        assert two + ", " not in language
        assert call("get", "x") not in language


@pytest.mark.parametrize(
    ("format_", "reason", "at"),
    [
        ({"type": "any_text", "exclude": []}, "syntax", "/format/exclude"),
        ({"type": "any_text", "max_tokens": -2}, "syntax", "/format/max_tokens"),
        ({"type": "nothing"}, "syntax", "/format/type"),
        ({"type": "dispatch", "rules": [["<", NUMBER, NUMBER]]}, "syntax", "/format/rules/0"),
        ({"type": "dispatch", "rules": [["<a", NUMBER], ["<", NUMBER]]}, "syntax",
         "/format/rules/1/0"),
        ({"type": "dispatch", "rules": [["<a", NUMBER]], "excludes": ["x", "a"]}, "syntax",
         "/format/excludes/1"),
        ({"type": "const_string"}, "syntax", "/format/value"),
        ({"type": "regex", "pattern": "a("}, "syntax", "/format/pattern offset 1"),
        ({"type": "grammar", "grammar": "root ::= x"}, "syntax", "/format/grammar 1:10"),
        ({"type": "json_schema", "json_schema": {"type": "strin"}}, "syntax",
         "/format/json_schema/type"),
        ({"type": "json_schema", "json_schema": {}, "style": "xml"}, "syntax", "/format/style"),
        ({"type": "sequence", "elements": [_text("a"), 3]}, "syntax", "/format/elements/1"),
        (_tag("a", {"type": "repeat", "min": 2, "max": 1, "content": NUMBER}, "b"), "syntax",
         "/format/content/max"),
        ({"type": "triggered_tags", "triggers": ["<a"], "tags": [_tag("<b", NUMBER, ">")]},
         "syntax", "/format/tags/0/begin"),
        ({"type": "triggered_tags", "triggers": ["<", "<a"], "tags": [_tag("<a", NUMBER, ">")]},
         "syntax", "/format/triggers/0"),
        ({"type": "triggered_tags", "triggers": ["<a"], "tags": [_tag("<a", NUMBER, ">")],
          "excludes": ["<"]}, "syntax", "/format/excludes/0"),
    ],
)  # fmt: skip
def test_errors_name_the_field(format_: Format, reason: str, at: str) -> None:
    with pytest.raises(GrammarError) as caught:
        _language(format_)
    assert (caught.value.reason, caught.value.at) == (reason, at), caught.value


def test_two_hundred_tools() -> None:
    tags = [_tag(f'{{"name": "tool_{i}", "n": ', NUMBER, "}") for i in range(200)]
    language = _language({"type": "triggered_tags", "triggers": ['{"name": "'], "tags": tags})
    assert 'hello {"name": "tool_137", "n": 5} and {"name": "tool_0", "n": 12}.' in language
    assert 'hello {"name": "tool_200", "n": 5}' not in language
    assert language.begins('{"name": "tool_19')
    assert not language.begins('{"name": "tools')
