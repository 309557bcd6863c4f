"""Other views of the same options: a JSON Schema for config files, a table for the docs."""

from __future__ import annotations

from typing import Any

from treadle.config.option import Option, options_of

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


def json_schema(command: type) -> dict[str, Any]:
    """JSON Schema of a config file of `command`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": command.__name__,
        "type": "object",
        "properties": {item.name: _property(item) for item in options_of(command)},
        "additionalProperties": False,
    }


def markdown(command: type) -> str:
    """A table of the options: flag, variable, default, meaning."""
    rows = ["| flag | variable | default | meaning |", "|---|---|---|---|"]
    for item in options_of(command):
        flag = item.metavar if item.positional else ("–" if item.secret else f"`{item.flag}`")
        default = "required" if item.required else f"`{item.default}`"
        text = item.help + (f" ({item.unit})" if item.unit else "")
        rows.append(
            f"| {flag} | `{item.variable}` | {default} | {text} |".replace("|REPO", "/REPO")
        )
    return "\n".join(rows)


def _property(item: Option) -> dict[str, Any]:
    kind: Any = _TYPES[item.kind]
    out: dict[str, Any] = {
        "description": item.help,
        "type": [kind, "null"] if item.default is None else kind,
    }
    if item.choices:
        out["enum"] = list(item.choices)
    if item.low is not None:
        out["minimum"] = item.low
    if item.high is not None:
        out["maximum"] = item.high
    if not item.required and item.default is not None:
        out["default"] = item.default
    return out
