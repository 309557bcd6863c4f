"""What a model must answer, and how its text becomes files: data throughout, nothing is run."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, cast

from treadle.kernels.schema import Preparation

MAX_FILES, MAX_CHARS = 16, 1 << 20

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "plan": {"type": "string"},
        "files": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "content": {"type": "string"}},
                "required": ["path", "content"],
                "additionalProperties": False,
            },
        },
        "entry_point": {"type": "string"},
        "prepare": {"type": "string"},
        "run_prepared": {"type": "string"},
        "release": {"type": "string"},
    },
    "required": ["plan", "files", "entry_point", "prepare", "run_prepared", "release"],
    "additionalProperties": False,
}
"""Sent as `response_format`; within what every implementation of strict schemas knows."""

_FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"[\w+-][\w./+-]*\.(?:cc|cpp|cxx|cu|cuh|h|hpp|py)")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan in words, files in order, `file::symbol`, and how weights are prepared if they are."""

    plan: str
    files: dict[str, str]
    entry_point: str
    prepare: Preparation | None = None


class Malformed(ValueError):
    """A reply that is no proposal, and why."""


def parse(text: str, ending: str) -> Proposal:
    """JSON as asked for, or fenced code from an endpoint that binds replies to nothing.

    ending: of the entry file. Raises Malformed.
    """
    found = _json(text)
    if found is None:
        for match in _FENCE.finditer(text):
            if match[1].strip().lower() in ("", "json"):
                found = _json(match[2])
                if found is not None:
                    break
    if found is None:
        found = _fenced(text, ending)
    return _checked(found)


def _json(text: str) -> dict[str, Any] | None:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _fenced(text: str, ending: str) -> dict[str, Any]:
    files: list[dict[str, str]] = []
    first = len(text)
    for match in _FENCE.finditer(text):
        first = min(first, match.start())
        above = text[: match.start()].rstrip().rpartition("\n")[2]
        named = _FILE.search(match[1]) or (_FILE.search(above) if len(above) < 80 else None)
        path = named[0] if named else f"main{ending}"
        if all(one["path"] != path for one in files):
            files.append({"path": path, "content": match[2]})
    if not files:
        raise Malformed("neither the JSON that was asked for nor fenced code")
    entry = next((one["path"] for one in files if one["path"].endswith(ending)), None)
    if entry is None:
        raise Malformed(f"no file ends in {ending}")
    return {"plan": text[:first].strip(), "files": files, "entry_point": f"{entry}::run"}


def _checked(found: dict[str, Any]) -> Proposal:
    plan, entry, files = (found.get(key) for key in ("plan", "entry_point", "files"))
    if not isinstance(plan, str) or not isinstance(entry, str) or not isinstance(files, list):
        raise Malformed("plan, files and entry_point are a string, a list and a string")
    out: dict[str, str] = {}
    for one in cast("list[Any]", files):
        given = cast("dict[str, Any]", one) if isinstance(one, dict) else {}
        path, content = given.get("path"), given.get("content")
        if not isinstance(path, str) or not isinstance(content, str) or not path or not content:
            raise Malformed("each file has a path and a content, both non-empty strings")
        if path in out:
            raise Malformed(f"file {path[:80]!r} comes twice")
        out[path] = content
    if not 1 <= len(out) <= MAX_FILES:
        raise Malformed(f"{len(out)} files, 1 to {MAX_FILES} are taken")
    if sum(map(len, out.values())) > MAX_CHARS:
        raise Malformed(f"more than {MAX_CHARS} characters")
    made = [found.get(key, "") for key in ("prepare", "run_prepared", "release")]
    if not all(isinstance(text, str) for text in made):
        raise Malformed("prepare, run_prepared and release are strings, empty without prepare")
    make, run, release = cast("list[str]", made)
    for text in (plan, entry, make, run, release, *out, *out.values()):
        if not _encodes(text):
            raise Malformed("half a surrogate pair is no character")
    places = {"entry_point": entry}
    if make or run or release:
        places |= {"prepare": make, "run_prepared": run}
    for key, text in places.items():
        if text.partition("::")[0] not in out or text.count("::") != 1:
            raise Malformed(f"{key} {text[:80]!r} is not FILE::SYMBOL of one of the files")
    prepare = Preparation(entry=make, run=run, release=release) if make else None
    return Proposal(plan, out, entry, prepare)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
