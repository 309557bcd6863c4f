"""A matcher for structural tags, independent of the core: it tries every reading."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema

_DECODER = json.JSONDecoder()


def accepts(tag: dict[str, Any], text: str) -> bool:
    """Whether the whole text is in the tag's language."""
    return len(text) in set(_ends(tag["format"], text, 0))


def _ends(item: dict[str, Any], text: str, at: int) -> Iterator[int]:
    """Every position where a match of `item` that begins at `at` may end."""
    kind = item["type"]
    if kind == "json_schema":
        yield from _json(item["json_schema"], text, at)
    elif kind == "regex":
        for end in range(at, len(text) + 1):
            if re.fullmatch(item["pattern"], text[at:end]):
                yield end
    elif kind == "any_text":
        yield from range(at, len(text) + 1)
    elif kind == "optional":
        yield at
        yield from _ends(item["content"], text, at)
    elif kind == "or":
        for element in item["elements"]:
            yield from _ends(element, text, at)
    elif kind == "sequence":
        yield from _sequence(item["elements"], text, at)
    elif kind == "tag":
        yield from _tag(item, text, at)
    elif kind == "tags_with_separator":
        yield from _separated(item, text, at)
    elif kind == "triggered_tags":
        yield from _triggered(item, text, at)
    else:
        raise AssertionError(f"unknown format {kind}")


def _json(schema: dict[str, Any], text: str, at: int) -> Iterator[int]:
    try:
        value, end = _DECODER.raw_decode(text, at)
        jsonschema.validate(value, schema)
    except (ValueError, jsonschema.ValidationError):
        return
    yield end


def _sequence(elements: list[dict[str, Any]], text: str, at: int) -> Iterator[int]:
    if not elements:
        yield at
        return
    for middle in set(_ends(elements[0], text, at)):
        yield from _sequence(elements[1:], text, middle)


def _tag(item: dict[str, Any], text: str, at: int) -> Iterator[int]:
    if text.startswith(item["begin"], at):
        for middle in set(_ends(item["content"], text, at + len(item["begin"]))):
            if text.startswith(item["end"], middle):
                yield middle + len(item["end"])


def _separated(item: dict[str, Any], text: str, at: int) -> Iterator[int]:
    if not item["at_least_one"]:
        yield at
    for tag in item["tags"]:
        for end in set(_tag(tag, text, at)):
            yield end
            if not item["stop_after_first"] and text.startswith(item["separator"], end):
                more = {**item, "at_least_one": True}
                yield from _separated(more, text, end + len(item["separator"]))


def _triggered(item: dict[str, Any], text: str, at: int) -> Iterator[int]:
    """Free text up to the next trigger, then a tag, then free text again."""
    assert all(sum(t["begin"].startswith(x) for x in item["triggers"]) == 1 for t in item["tags"])
    found = [p for p in (text.find(trigger, at) for trigger in item["triggers"]) if p >= 0]
    begin = min(found, default=None)
    if not item["at_least_one"]:
        yield from range(at, len(text) + 1 if begin is None else begin + 1)
    if begin is None or (item["at_least_one"] and begin != at):
        return
    for tag in item["tags"]:
        for end in set(_tag(tag, text, begin)):
            if item["stop_after_first"]:
                yield end
            else:
                yield from _triggered({**item, "at_least_one": False}, text, end)
