"""Writes what the npm package takes from Python: error codes, limits, and the shapes of requests.

    python scripts/write_web.py [--check]

Python stays the one source; `web/src/generated/` is committed, and a test compares it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

import msgspec
import web_vectors
from msgspec.structs import asdict

from treadle import errors
from treadle.limits import Limits
from treadle.server import wire

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "web" / "src" / "generated"
HEAD = "// Written by scripts/write_web.py from python/treadle. Do not edit.\n"
_NOISE = ("title", "description", "default")
# What a page may ask for beside what the server's bodies hold: one more name for each constraint.
_FORMATS = {
    "RegexFormat": {"type": {"enum": ["regex"]}, "regex": {"type": "string"}},
    "GrammarFormat": {"type": {"enum": ["grammar"]}, "grammar": {"type": "string"}},
    "ChoiceFormat": {
        "type": {"enum": ["choice"]},
        "choice": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    },
}
_TAG = {"type": {"enum": ["structural_tag"]}}


def files() -> dict[Path, str]:
    """The text of every generated file."""
    made = {"codes.ts": _codes(), "limits.ts": _limits(), "bodies.ts": _bodies()}
    return {**{TARGET / name: text for name, text in made.items()}, **web_vectors.write()}


def _codes() -> str:
    found: dict[str, int] = {}
    queue: list[type[errors.TreadleError]] = [errors.TreadleError]
    while queue:
        kind = queue.pop()
        if kind.__module__ == errors.__name__:
            found[kind.code] = kind.http_status
            queue += kind.__subclasses__()
    rows = "".join(f"  {code}: {status},\n" for code, status in sorted(found.items()))
    return f"{HEAD}/** Error codes and their HTTP status. */\n{_table('STATUS', rows)}"


def _limits() -> str:
    wanted = (
        *("messages", "tools", "choices", "stops", "template_bytes", "template_output_bytes"),
        *("queue_requests", "undelivered_deltas", "json_depth", "body_bytes", "tokenizer_bytes"),
    )
    values = asdict(Limits())
    rows = "".join(f"  {_camel(name)}: {values[name]},\n" for name in wanted)
    return f"{HEAD}/** Budgets of one request and of the queue. */\n{_table('LIMITS', rows)}"


def _table(name: str, rows: str) -> str:
    return f"export const {name} = {{\n{rows}}} as const;\n"


def _bodies() -> str:
    kinds = (wire.ChatBody, wire.CompletionBody)
    _, definitions = msgspec.json.schema_components(kinds, ref_template="{name}")
    table = cast("dict[str, Any]", _trim(definitions, keys_are_names=True))
    for name, fields in _FORMATS.items():
        table[name] = _object(fields)
    # A tag comes as OpenAI-style servers take it: the format itself, or wrapped in a member.
    table["TagFormat"] = _object(
        {**_TAG, "format": {"type": "object"}, "structural_tag": {}}, needed=("type",)
    )
    added = [*_FORMATS, "TagFormat"]
    for body in ("ChatBody", "CompletionBody"):
        table[body]["properties"]["response_format"]["anyOf"] += [{"$ref": n} for n in added]
    table["StructuredOutputs"]["properties"]["structural_tag"] = {}
    table = _compact(table)
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return (
        f'{HEAD}import type {{ Shape }} from "../openai/shape.js";\n\n'
        "/** The request bodies; `openai/shape.ts` says how they are to be read. */\n"
        f"export const BODIES = JSON.parse(\n  {json.dumps(text, ensure_ascii=False)},\n"
        ") as Readonly<Record<string, Shape>>;\n"
    )


def _compact(table: dict[str, Any]) -> dict[str, Any]:
    """The same shapes in fewer bytes: what both bodies hold stands once, null is a flag, and what
    names its members is an object that has no others."""
    found = cast("dict[str, Any]", _short(table))
    chat, completion = found["ChatBody"], found["CompletionBody"]
    both = chat["properties"], completion["properties"]
    shared = {name: shape for name, shape in both[0].items() if both[1].get(name) == shape}
    found["Shared"] = {"properties": shared}
    for body in (chat, completion):
        body["extends"] = "Shared"
        for name in shared:
            del body["properties"][name]
    return found


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return [_short(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    found = {key: _short(item) for key, item in cast("dict[str, Any]", value).items()}
    if found.get("additionalProperties") is False and "properties" in found:
        del found["additionalProperties"]
        del found["type"]
    options = found.get("anyOf")
    if isinstance(options, list) and {"type": "null"} in options:
        rest = [option for option in cast("list[Any]", options) if option != {"type": "null"}]
        found = {**(rest[0] if len(rest) == 1 else {"anyOf": rest}), "null": True}
    return found


def _object(fields: dict[str, Any], needed: tuple[str, ...] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": sorted(fields if needed is None else needed),
        "additionalProperties": False,
    }


def _trim(value: Any, keys_are_names: bool = False) -> Any:
    """Without documentation; a union that a tag decides becomes a plain one."""
    if isinstance(value, list):
        return [_trim(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for key, item in cast("dict[str, Any]", value).items():
        if keys_are_names or (key not in _NOISE and key != "discriminator"):
            found[key] = _trim(item, key == "properties" and not keys_are_names)
    return found


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def main() -> int:
    """Writes the files, or says which of them differ."""
    check = sys.argv[1:] == ["--check"]
    stale = {
        path: text
        for path, text in files().items()
        if not path.exists() or path.read_text("utf-8") != text
    }
    if check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} differs: run scripts/write_web.py", file=sys.stderr)
        return bool(stale)
    for path, text in stale.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
