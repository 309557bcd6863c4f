"""`strict_mode` as a rewriting of the schema: objects and arrays hold what they mention."""

from __future__ import annotations

from typing import Any, cast

from treadle.errors import GrammarError

Json = dict[str, Any]

# Keywords whose values are schemas, lists of schemas, and maps to schemas of other instances.
# Not here: `not`, `if` and `contains` are conditions, and closing them would change them.
_ONE = ("additionalProperties", "items", "additionalItems", "then", "else")
_LIST = ("prefixItems", "items")
_MAP = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_CHOICES = ("anyOf", "oneOf")
_MENTIONS = ("properties", "patternProperties")


def closed(schema: Any) -> Any:
    """A copy in which properties and items that a schema does not mention are forbidden.

    A schema with `properties` or `patternProperties` and no `additionalProperties` of its own
    forbids others; one with `prefixItems` and no `items` forbids more. Schemas that mention
    nothing stay open. Raises GrammarError where several schemas describe one object together
    (`allOf` beside others): closing each of them would forbid what its neighbours mention.
    """
    root: list[Any] = [schema]
    pending: list[tuple[Any, Any, str]] = [(root, 0, "")]  # container, key, pointer
    while pending:
        holder, key, at = pending.pop()
        old = holder[key]
        if not isinstance(old, dict):
            continue
        node = dict(cast(Json, old))
        holder[key] = node
        _check_neighbours(node, at)
        if any(word in node for word in _MENTIONS) and not any(
            word in node for word in ("additionalProperties", "unevaluatedProperties")
        ):
            node["additionalProperties"] = False
            node["properties"] = _with_required(node)
        if "prefixItems" in node and not any(w in node for w in ("items", "unevaluatedItems")):
            node["items"] = False
        pending += _children(node, at)
    return root[0]


def _with_required(node: Json) -> Json:
    """Declared properties, and those that are only named as required: naming is mentioning."""
    declared: Any = node.get("properties", {})
    required: Any = node.get("required", ())
    if not isinstance(declared, dict) or not isinstance(required, list):
        return cast(Json, declared)  # the core says what is wrong with them
    known = cast(Json, declared)
    names = [name for name in cast("list[Any]", required) if isinstance(name, str)]
    return {**known, **{name: True for name in names if name not in known}}


def _children(node: Json, at: str) -> list[tuple[Any, Any, str]]:
    out: list[tuple[Any, Any, str]] = []
    for word in _ONE:
        if isinstance(node.get(word), dict):
            out.append((node, word, f"{at}/{word}"))
    for word in (*_LIST, *_CHOICES, "allOf"):
        if isinstance(node.get(word), list):
            node[word] = list(node[word])
            out += [(node[word], i, f"{at}/{word}/{i}") for i in range(len(node[word]))]
    for word in _MAP:
        if isinstance(node.get(word), dict):
            node[word] = dict(node[word])
            out += [(node[word], name, f"{at}/{word}/{name}") for name in node[word]]
    return out


def _check_neighbours(node: Json, at: str) -> None:
    """Refuses a schema whose parts describe the same object from several places."""
    own = any(word in node for word in (*_MENTIONS, "prefixItems"))
    parts = [p for p in node.get("allOf", ()) if _describes(p)]
    applied = [word for word in (*_CHOICES, "then", "else") if word in node and _any(node[word])]
    applied += ["$ref"] if isinstance(node.get("$ref"), str) else []
    applied += ["dependentSchemas"] if "dependentSchemas" in node else []
    if own + len(parts) + len(applied) > 1:
        word = "allOf" if parts else applied[0]
        raise GrammarError(
            "several schemas describe one object, and strict_mode cannot close each of them",
            at=f"{at}/{word}",
            kind="json_schema",
            keyword=word,
            reason="unsupported",
            hint="give strict_mode=False, or additionalProperties where it is meant",
        )


def _any(value: Any) -> bool:
    parts = cast("list[Any]", value) if isinstance(value, list) else [value]
    return any(_describes(part) for part in parts)


def _describes(part: Any) -> bool:
    """Whether a sub-schema may mention properties or items."""
    words = (*_MENTIONS, "prefixItems", "$ref", "allOf", "then", "else", *_CHOICES)
    return isinstance(part, dict) and any(word in part for word in words)
