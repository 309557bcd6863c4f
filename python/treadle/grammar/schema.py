"""Options of the JSON kinds of grammar: which of a value's spellings the output may use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypedDict, Unpack

from treadle import _core
from treadle.errors import InvalidRequest

Order = Literal["any", "declared"]
Escapes = Literal["any", "minimal"]
Numbers = Literal["any", "plain"]
Formats = Literal["assert", "annotate", "exact"]


class Spelling(TypedDict, total=False):
    """How a JSON value may be written. Every field narrows the spellings, never the values.

    whitespace: longest optional run, in bytes (default 64). indent, separators: no whitespace but
    what json.dumps writes for them. escapes: any spelling of a character,
    or "minimal", only the shortest that RFC 8259 allows. numbers: any spelling of a number, or
    "plain": integers by their digits alone, others with at most 24 digits (or as many as a bound
    has). Small models given the choice may write 1.000… for 1 and not stop.
    """

    whitespace: int
    indent: int | None
    separators: tuple[str, str] | None
    escapes: Escapes
    numbers: Numbers


class SchemaOptions(Spelling, total=False):
    """Options of `Grammar.json_schema`.

    order: keys in any order (default), or as declared; either way declared keys occur once, while
    keys that the schema does not name may repeat. lenient: drop what cannot be enforced and list
    it in `notes`. formats: "assert" (or True, the default) enforces `format`, of some formats by a
    subset, which a note says; "exact" refuses those; "annotate" (or False) enforces none. closed:
    forbid the keys and items of an object or array that no schema for it mentions, where some are
    mentioned and nothing says what others are. resources: schemas by URI, for references to them
    and for `$schema`; the meta-schemas of drafts 4 to 2020-12 are known. at: prefix of JSON
    pointers in errors.
    """

    order: Order
    lenient: bool
    formats: bool | Formats
    closed: bool
    resources: Mapping[str, dict[str, Any] | bool | str]
    at: str


def core_options(**options: Unpack[SchemaOptions]) -> _core.SchemaOptions:
    """The options as the core takes them, not to be changed.

    Raises InvalidRequest for a value that none has.
    """
    return _core_options(options) if options else _USUAL


_USUAL = _core.SchemaOptions()  # its defaults are those of SchemaOptions


def _core_options(options: SchemaOptions) -> _core.SchemaOptions:
    out = _core.SchemaOptions()
    out.declared_order = _one_of("order", options.get("order", "any"), "any", "declared")
    out.whitespace = options.get("whitespace", 64)
    _fix(out, options)
    out.minimal_escapes = _one_of("escapes", options.get("escapes", "any"), "any", "minimal")
    out.plain_numbers = _one_of("numbers", options.get("numbers", "any"), "any", "plain")
    out.lenient = options.get("lenient", False)
    formats = options.get("formats", True)
    if formats not in (True, False, "assert", "annotate", "exact"):
        hint = 'give "assert", "annotate" or "exact"'
        raise InvalidRequest(f"got {formats!r}", at="formats", hint=hint)
    out.assert_formats = formats not in (False, "annotate")
    out.exact_formats = formats == "exact"
    out.closed = options.get("closed", False)
    given = options.get("resources", {})
    texts = {uri: v if isinstance(v, str) else dump(v, uri) for uri, v in given.items()}
    out.resources = list(texts.items())
    out.at = options.get("at", "")
    return out


def _fix(out: _core.SchemaOptions, options: SchemaOptions) -> None:
    """Fixes the places of all tokens, if the options ask for it."""
    indent, separators = options.get("indent"), options.get("separators")
    if indent is None and separators is None:
        return
    if "whitespace" in options:
        raise InvalidRequest(
            "there is no optional whitespace beside indent or separators",
            at="whitespace",
            hint="give one or the other",
        )
    if indent is not None and not 0 <= indent < 1 << 32:
        raise InvalidRequest(f"got {indent}", at="indent", hint="give blanks a level, 0 or more")
    comma, colon = separators or (", " if indent is None else ",", ": ")  # as json.dumps
    out.fix(comma, colon, indent)


_REFERS = r'"(?:\$ref|\$dynamicRef|\$id|id)"\s*:\s*"[^"]*json-schema\.org'


def with_drafts(text: str, options: SchemaOptions) -> _core.SchemaOptions | None:
    """The options with the published meta-schemas as resources, if the schema refers to them.

    None if it does not. Those that name json-schema.org in `$schema` alone need not carry them.
    """
    if "json-schema.org" not in text or not re.search(_REFERS, text):
        return None
    out = _core_options(options)
    known = {uri for uri, _ in out.resources}
    out.resources += [(uri, draft) for uri, draft in _drafts() if uri not in known]
    return out


@cache
def _drafts() -> tuple[tuple[str, str], ...]:
    """The meta-schemas by URI. Source: json-schema.org, drafts 4, 6, 7, 2019-09 and 2020-12."""
    import json
    from importlib.resources import files  # a fifth of the time that importing us would take

    out: list[tuple[str, str]] = []
    for file in sorted(files("treadle.grammar").joinpath("drafts").iterdir(), key=lambda f: f.name):
        text = file.read_text(encoding="utf-8")
        draft = json.loads(text)
        out.append((draft.get("$id", draft.get("id")), text))
    return tuple(out)


def dump(value: object, at: str) -> str:
    """A schema or tag as JSON text. Raises InvalidRequest where it is no JSON value."""
    import json  # with its decoder, half as long to import as all of ours

    # The core limits depth by itself; Python's encoder signals it, and a cycle, by RecursionError.
    spell = json.JSONEncoder(
        ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
    )
    try:
        return spell.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"not a JSON value: {error}", at=at or "/") from None


def _one_of(name: str, value: str, usual: str, other: str) -> bool:
    """Whether `value` is `other`."""
    if value not in (usual, other):
        raise InvalidRequest(f"got {value!r}", at=name, hint=f'give "{usual}" or "{other}"')
    return value == other
