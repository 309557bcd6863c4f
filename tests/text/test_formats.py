"""Tool formats: the models' own templates prove the data, and the reader reads what tags admit."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from byte_matcher import Language

from treadle.errors import InvalidRequest
from treadle.grammar import Grammar
from treadle.text import CallEvent, CallReader, ChatTemplate, tool_format
from treadle.text.formats import ToolFormat, parse_format, tool_formats
from treadle.types import Message, Tool

FOLDER = Path(__file__).parent / "templates"
WEATHER = Tool(
    "get_weather",
    "The weather of a city",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
STOP = Tool("stop")
TOOLS = (WEATHER, STOP)
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("get_weather", {"city": 'K\u00f6ln "\\ {[</tool_call>', "days": 3}),
    ("stop", {}),
]
FORMATS = sorted(tool_formats().values(), key=lambda entry: entry.name)


def accepts(tag: dict[str, Any], text: str) -> bool:
    """Whether the whole text is in the tag's language."""
    return text in _language(json.dumps(tag))


@cache
def _language(tag: str) -> Language:
    return Language(Grammar.tag(json.loads(tag)))


def _template(name: str) -> ChatTemplate:
    return ChatTemplate((FOLDER / f"{name}.jinja").read_text("utf-8"), "<s>", "</s>")


def _turn(calls: list[tuple[str, dict[str, Any]]]) -> Message:
    made = [
        {"id": "abcdefghi", "type": "function", "function": {"name": n, "arguments": a}}
        for n, a in calls
    ]
    return Message("assistant", tool_calls=tuple(made))


@pytest.mark.parametrize(
    ("name", "calls", "end"),
    [
        ("qwen2_5", CALLS, "<|im_end|>\n"),
        ("qwen3", CALLS, "<|im_end|>\n"),
        ("llama3_2", CALLS[:1], "<|eot_id|>"),
        ("mistral_v3", CALLS, "</s>"),
    ],
)
def test_the_data_proves_itself(
    name: str, calls: list[tuple[str, dict[str, Any]]], end: str
) -> None:
    """What the model's template prints for a turn with calls is what the tag admits and what the
    reader takes apart again."""
    template = _template(name)
    user = Message("user", "weather?")
    shown = template.render([user, _turn(calls)], TOOLS, add_generation_prompt=False)
    prompt = template.render([user], TOOLS, add_generation_prompt=True)
    assert shown.startswith(prompt)
    written = shown[len(prompt) :]
    assert written.endswith(end)
    written = written[: -len(end)]
    entry = tool_format(template.source, "")
    several = len(calls) > 1
    for choice in ("auto", "required"):
        tag = entry.tag(TOOLS, choice)
        assert tag is not None
        assert accepts(tag, written), (choice, written)
        single = entry.tag(TOOLS, choice, parallel=False)
        assert single is not None
        assert accepts(single, written) is not several
    events = _read(entry.reader(split_reasoning=True), [written])
    assert _calls_of(events) == [(n, json.loads(json.dumps(a))) for n, a in calls]
    assert not [e for e in events if e.kind == "text"]


FREE = [entry for entry in FORMATS if entry.layout == "free"]


@pytest.mark.parametrize("entry", FREE, ids=lambda entry: entry.name)
def test_tags_admit_what_they_should_and_nothing_else(entry: ToolFormat) -> None:
    one = entry.render_call(*CALLS[0])
    other = entry.render_call(*CALLS[1])
    wrong = entry.render_call("get_weather", {"days": 3})
    unknown = entry.render_call("launch", {})
    auto, required = entry.tag(TOOLS), entry.tag(TOOLS, "required")
    named = entry.tag(TOOLS, ("named", "get_weather"))
    assert auto is not None
    assert required is not None
    assert named is not None
    assert accepts(auto, "Just words, 1 < 2.")
    assert accepts(auto, f"Let me see.\n{one}")
    assert not accepts(auto, wrong)
    assert not accepts(auto, f"words {unknown}")
    framed = entry.call.tail or entry.call.end
    assert not accepts(auto, one.rstrip()[:-1] if framed else one[: one.rindex("}")])
    for tag in (required, named):
        assert accepts(tag, one)
        assert not accepts(tag, "Just words.")
        assert not accepts(tag, "")
        assert not accepts(tag, wrong)
        assert not accepts(tag, f"{one} and more")
    assert accepts(required, other)
    assert not accepts(named, other)
    if entry.call.many != "once":
        both = entry.render_calls(CALLS)
        assert accepts(auto, both)
        assert accepts(required, both)
        assert not accepts(named, both)
        for choice in ("auto", "required"):
            single = entry.tag(TOOLS, choice, parallel=False)
            assert single is not None
            assert accepts(single, one)
            assert not accepts(single, both)
    assert entry.tag(TOOLS, "none") is None
    assert entry.tag(()) is None
    with pytest.raises(InvalidRequest, match="no tool is called 'launch'"):
        entry.tag(TOOLS, ("named", "launch"))


def test_reasoning_may_come_first_and_mention_calls() -> None:
    entry = tool_formats()["qwen"]
    thought = "<think>\nuse <tool_call>?\n</think>\n\n"
    call = entry.render_call(*CALLS[0])
    tag = entry.tag(TOOLS, "required")
    assert tag is not None
    assert accepts(tag, thought + call)
    assert not accepts(tag, thought)
    split = _read(entry.reader(split_reasoning=True), list(thought + call))
    assert split[0] == CallEvent("reasoning", "\nuse <tool_call>?\n")
    assert _calls_of(split) == CALLS[:1]
    whole = _read(entry.reader(), list(thought + call))
    assert whole[0] == CallEvent("text", thought.rstrip())
    assert _calls_of(whole) == CALLS[:1]


@pytest.mark.parametrize("entry", FORMATS, ids=lambda entry: entry.name)
def test_reader_gives_the_same_events_however_the_text_is_cut(entry: ToolFormat) -> None:
    calls = CALLS[:1] if entry.call.many == "once" else CALLS
    text = "I look it up.\n" + entry.render_calls(calls)
    expected = _read(entry.reader(), [text])
    assert expected[0] == CallEvent("text", "I look it up.")
    assert [e.kind for e in expected[1:]] == ["call", "arguments", "end"] * len(calls)
    assert _calls_of(expected) == calls
    if entry.call.style == "json":
        assert all(e.value in text for e in expected)  # byte for byte what was written
    for seed in range(60):
        assert _read(entry.reader(), _cut(text, seed)) == expected


@pytest.mark.parametrize("entry", FORMATS, ids=lambda entry: entry.name)
def test_reader_takes_output_that_ends_anywhere(entry: ToolFormat) -> None:
    calls = CALLS[:1] if entry.call.many == "once" else CALLS
    text = entry.render_calls(calls)
    for size in range(len(text) + 1):
        events = _read(entry.reader(), [text[:size]])
        begun = [e for e in events if e.kind == "call"]
        assert len(begun) == len([e for e in events if e.kind == "end"])
        for (_, arguments), written in zip(calls, _argument_texts(events), strict=False):
            assert json.dumps(arguments, ensure_ascii=False).startswith(written)
        if not begun:
            assert "".join(e.value for e in events) == text[:size]


JUNK = [
    "<tool_call>\nnot JSON at all",
    '<tool_call>\n<tool_call>{"x": 1} ',
    '<tool_call>{"name": 3, "arguments": {}}</tool_call>',
    '<tool_call>{"arguments": {"a": 1}}</tool_call> tail',
    "<tool_call>" * 50,
    "[TOOL_CALLS] nothing of the sort",
    "[TOOL_CALLS]" + "x" * 2_000,
    '{"name": "half',
    '{"name": "a" 3}',
    "  surrounded by space \n",
    "a < b <tool",
    "<think>\nnever ends",
    "",
]


@pytest.mark.parametrize("entry", FORMATS, ids=lambda entry: entry.name)
@pytest.mark.parametrize("junk", JUNK)
def test_what_is_no_call_is_text(entry: ToolFormat, junk: str) -> None:
    expected = _read(entry.reader(), [junk])
    if not any(e.kind == "call" for e in expected):
        assert "".join(e.value for e in expected) == junk
    assert _read(entry.reader(), list(junk)) == expected


def test_reader_takes_other_spacing_and_orders() -> None:
    entry = tool_formats()["smollm2"]
    text = (
        '<tool_call> [ {"arguments" : {"a": [1]} , "id": "7", "name":"f"} ,\n{"name": "g"} ]'
        "\n</tool_call>\nDone."
    )
    expected = [
        CallEvent("call", "f"),
        CallEvent("arguments", '{"a": [1]}'),
        CallEvent("end", ""),
        CallEvent("call", "g"),
        CallEvent("arguments", "{}"),
        CallEvent("end", ""),
        CallEvent("text", "Done."),
    ]
    assert _read(entry.reader(), [text]) == expected
    assert _read(entry.reader(), list(text)) == expected


@pytest.mark.parametrize(
    ("template", "family", "name"),
    [
        ("qwen2_5", "qwen2", "qwen"),
        ("qwen3", "qwen3", "qwen"),
        ("llama3", "llama", "llama3"),
        ("llama3_2", "llama", "llama3"),
        ("mistral_v3", "mistral", "mistral"),
        ("smollm2", "llama", "smollm2"),
        ("gemma2", "gemma2", "neutral"),
        ("llama2", "llama", "neutral"),
        ("chatml", "llama", "neutral"),
    ],
)
def test_formats_are_found_by_template(template: str, family: str, name: str) -> None:
    source = (FOLDER / f"{template}.jinja").read_text("utf-8")
    assert tool_format(source, family).name == name
    assert tool_format(None, "qwen3").name == "qwen"
    assert tool_format("{{ '[TOOL_CALLS]' }}{{ '[ARGS]' }}", "llama").name == "mistral_args"


@pytest.mark.parametrize("name", ["smollm2", "gemma2", "llama2", "chatml", "llama3"])
def test_conversations_with_tools_fit_templates_without_them(name: str) -> None:
    template = _template(name)
    entry = tool_format(template.source, "")
    messages = [
        Message("system", "Be brief."),
        Message("user", "weather?"),
        _turn(CALLS[:1]),
        Message("tool", "RESULT-1", tool_call_id="abcdefghi"),
    ]
    assert not template.supports_tools
    text = template.render(entry.adapt(messages, TOOLS, template.supports_system))
    for part in ("Be brief.", "get_weather", '"days"', "RESULT-1", entry.render_call(*CALLS[0])):
        assert part in text
    assert text.index("Be brief.") < text.index("weather?") < text.index("RESULT-1")


def test_format_files_are_checked() -> None:
    with pytest.raises(ValueError, match="unknown keys \\['colour'\\]"):
        parse_format('name = "x"\norder = 1\nresult = ""\ncolour = 1\n[call]\n' + _CALL)
    with pytest.raises(TypeError, match="trigger"):
        parse_format('name = "x"\norder = 1\nresult = ""\n[call]\nbegin = ""')


_CALL = 'trigger = "a"\nbegin = "a"\nend = ""\nbody = "json"\nmany = "once"\n'


def _read(reader: CallReader, pieces: list[str]) -> list[CallEvent]:
    events = [event for piece in pieces for event in reader.push(piece)] + reader.finish()
    joined: list[CallEvent] = []
    for event in events:
        if joined and joined[-1].kind == event.kind and event.kind not in ("call", "end"):
            joined[-1] = CallEvent(event.kind, joined[-1].value + event.value)
        else:
            joined.append(event)
    return joined


def _cut(text: str, seed: int) -> list[str]:
    draw = random.Random(seed)
    pieces: list[str] = []
    at = 0
    while at < len(text):
        size = draw.choice((1, 1, 2, 3, 5, 8, 30))
        pieces.append(text[at : at + size])
        at += size
    return pieces


def _argument_texts(events: list[CallEvent]) -> list[str]:
    found: list[str] = []
    for event in events:
        if event.kind == "call":
            found.append("")
        elif event.kind == "arguments":
            found[-1] += event.value
    return found


def _calls_of(events: list[CallEvent]) -> list[tuple[str, Any]]:
    names = [event.value for event in events if event.kind == "call"]
    return list(zip(names, map(json.loads, _argument_texts(events)), strict=True))
