"""Tags for calls whose begin holds the name, and perhaps a number, in slots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.text.formats import CallForm

Format = dict[str, Any]


def slot_tags(form: CallForm, name: str, schema: dict[str, Any]) -> list[Format]:
    """One tag for every begin. What follows a number is content: a tag begins with plain text."""
    content: Format = {"type": "json_schema", "json_schema": schema}
    if form.style != "json":
        content["style"] = form.style
    return [_tag(begin.replace("{name}", name), content, form.end) for begin in form.begins]


def _tag(begin: str, content: Format, end: str) -> Format:
    first, *rest = begin.split("{index}")
    if rest:
        parts: list[Format] = []
        for text in rest:
            parts.append({"type": "regex", "pattern": "[0-9]+"})
            parts.append({"type": "const_string", "value": text})
        content = {"type": "sequence", "elements": [*parts, content]}
    return {"type": "tag", "begin": first, "content": content, "end": end}
