"""What a model of each family writes is what its tag admits and what its reader takes apart."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from byte_matcher import Language

from treadle.grammar import Grammar
from treadle.text import CallEvent
from treadle.text.formats import ToolFormat, format_named, tool_formats
from treadle.types import Tool

GOLDEN = tomllib.loads((Path(__file__).parent / "golden_calls.toml").read_text("utf-8"))
TURNS: list[dict[str, Any]] = GOLDEN["turn"]
TOOLS = tuple(Tool(**tool) for tool in GOLDEN["tool"])
NAMES = [f"{turn['format']}-{i}" for i, turn in enumerate(TURNS)]


def _tag(entry: ToolFormat, *args: Any, **options: Any) -> Language:
    tag = entry.tag(TOOLS, *args, **options)
    assert tag is not None
    return Language(Grammar.tag(tag))


@pytest.mark.parametrize("turn", TURNS, ids=NAMES)
def test_the_tag_admits_what_the_model_writes(turn: dict[str, Any]) -> None:
    entry = format_named(turn["format"])
    text = turn["text"]
    assert text in _tag(entry)
    assert text in _tag(entry, thinking="enabled" if "thought" in turn else "disabled")
    once = _tag(entry, parallel=False)
    assert (text in once) == (len(turn["calls"]) <= 1)
    if not turn["calls"]:
        assert text not in _tag(entry, "required")
        return
    if not turn["said"]:
        assert (text in _tag(entry, "required")) or text.startswith("\n")
        only = _tag(entry, ("named", turn["calls"][0][0]))
        assert (text.lstrip("\n") in only) == (len(turn["calls"]) == 1)
    for wrong in (text.replace("get_weather", "launch"), text.replace("city", "town")):
        assert wrong == text or wrong not in _tag(entry)


@pytest.mark.parametrize("turn", TURNS, ids=NAMES)
def test_the_reader_takes_it_apart(turn: dict[str, Any]) -> None:
    entry = format_named(turn["format"])
    whole = _read(entry, [turn["text"]])
    assert whole == _read(entry, list(turn["text"]))
    assert whole == _read(entry, [turn["text"][i : i + 7] for i in range(0, len(turn["text"]), 7)])
    assert "".join(e.value for e in whole if e.kind == "reasoning") == turn.get("thought", "")
    assert "".join(e.value for e in whole if e.kind == "text").strip() == turn["said"]
    calls: list[tuple[str, str]] = []
    for event in whole:
        if event.kind == "call":
            calls.append((event.value, ""))
        elif event.kind == "arguments":
            calls[-1] = (calls[-1][0], calls[-1][1] + event.value)
    assert [(name, json.loads(text)) for name, text in calls] == [
        (name, json.loads(text, strict=False)) for name, text in turn["calls"]
    ]


def _read(entry: ToolFormat, pieces: list[str]) -> list[CallEvent]:
    reader = entry.reader(split_reasoning=True, tools=TOOLS)
    events = [event for piece in pieces for event in reader.push(piece)] + reader.finish()
    joined: list[CallEvent] = []
    for event in events:
        if joined and joined[-1].kind == event.kind and event.kind not in ("call", "end"):
            joined[-1] = CallEvent(event.kind, joined[-1].value + event.value)
        else:
            joined.append(event)
    return joined


def test_every_family_has_a_golden_turn() -> None:
    shown = {format_named(turn["format"]).name for turn in TURNS}
    others = {"neutral", "smollm2", "mistral_args"}  # covered by test_formats.py
    assert shown | others == set(tool_formats())
    with pytest.raises(KeyError):
        format_named("nothing")


def test_excludes_can_be_lifted() -> None:
    entry = format_named("glm_4_7")
    text = "It writes </arg_key> in passing."
    assert text not in _tag(entry)
    assert text in _tag(entry, exclude=False)
