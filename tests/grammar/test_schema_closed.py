"""closed=True forbids what nothing mentions; resources and the bundled drafts are referred to."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from byte_matcher import Language

from treadle.errors import GrammarError, LimitExceeded
from treadle.grammar import Grammar
from treadle.limits import GrammarLimits

# Schemas, and the same ones with what `closed` means written out.
A, B = {"a": {"type": "integer"}}, {"b": {"type": "string"}}
CLOSED: list[tuple[Any, Any]] = [
    ({"properties": A}, {"properties": A, "additionalProperties": False}),
    ({"properties": A, "required": ["b"]},
     {"properties": A | {"b": True}, "required": ["b"], "additionalProperties": False}),
    ({"patternProperties": {"^a": True}},
     {"patternProperties": {"^a": True}, "additionalProperties": False}),
    ({"properties": A, "additionalProperties": {"type": "null"}},
     {"properties": A, "additionalProperties": {"type": "null"}}),
    ({"properties": A, "additionalProperties": True}, {"properties": A}),
    ({"type": "object"}, {"type": "object"}),
    ({"properties": {"a": {}}}, {"properties": {"a": {}}, "additionalProperties": False}),
    ({"properties": A, "allOf": [{"properties": B}]},
     {"properties": A | B, "additionalProperties": False}),
    ({"allOf": [{"properties": A}, {"properties": B, "required": ["c"]}]},
     {"properties": A | B | {"c": True}, "required": ["c"], "additionalProperties": False}),
    ({"properties": A, "anyOf": [{"properties": B}, {"required": ["a"]}]},
     {"properties": A, "anyOf": [{"properties": B}, {"required": ["a"]}],
      "unevaluatedProperties": False}),
    ({"properties": {"a": {"properties": B}}},
     {"properties": {"a": {"properties": B, "additionalProperties": False}},
      "additionalProperties": False}),
    ({"prefixItems": [A["a"]]}, {"prefixItems": [A["a"]], "items": False}),
    ({"prefixItems": [True], "items": {"type": "null"}},
     {"prefixItems": [True], "items": {"type": "null"}}),
    ({"items": {"properties": A}}, {"items": {"properties": A, "additionalProperties": False}}),
    ({"prefixItems": [True, True], "minItems": 1},
     {"prefixItems": [True, True], "minItems": 1, "maxItems": 2}),
]  # fmt: skip
VALUES: list[Any] = [{}, {"a": 1}, {"a": "x"}, {"b": "x"}, {"c": 1}, {"a": 1, "b": "x"}, {"ab": 1},
                     {"a": 1, "c": None}, {"a": 1, "b": 1}, {"b": 1, "c": 2}, {"a": {"b": "x"}},
                     {"a": {"c": 1}}, {"a": 1, "b": "x", "c": 3}, [], [1], [1, None], [1, 2, 3],
                     ["x"], [{"a": 1}], [{"a": 1, "c": 1}], 1, None]  # fmt: skip


@pytest.mark.parametrize(("schema", "meant"), CLOSED)
def test_closed_forbids_what_nothing_mentions(schema: Any, meant: Any) -> None:
    language = Language(Grammar.json_schema(schema, closed=True))
    validator = jsonschema.Draft202012Validator(meant)
    for value in VALUES:
        assert (json.dumps(value) in language) == validator.is_valid(value), value


def test_closed_parts_of_one_object_close_together() -> None:
    apart = {"prefixItems": [True], "allOf": [{"prefixItems": [True, {"type": "null"}]}]}
    language = Language(Grammar.json_schema(apart, closed=True))
    assert "[1, null]" in language
    assert "[1, null, 2]" not in language


def test_references_lead_to_resources() -> None:
    resources = {
        "https://example.org/list": {
            "$id": "https://example.org/list",
            "type": "array",
            "items": {"$ref": "item#/$defs/named"},
        },
        "https://example.org/item": '{"$defs": {"named": {"properties": {"next": {"$ref": "list"}},'
        '"required": ["next"], "$comment": "a relative reference"}}}',
        "https://example.org/unread": "not even JSON",
    }
    schema = {"properties": {"a": {"$ref": "https://example.org/list"}}}
    language = Language(Grammar.json_schema(schema, resources=resources))
    assert '{"a": [{"next": [{"next": []}, {"next": [1]}]}]}' in language
    assert not language.begins('{"a": [{}')
    assert not language.begins('{"a": {')
    with pytest.raises(GrammarError) as caught:
        Grammar.json_schema(schema)
    assert (caught.value.keyword, caught.value.at) == ("$ref", "/properties/a/$ref")


@pytest.mark.parametrize(
    ("resource", "at"),
    [
        ({"type": "strin"}, "https://example.org/r#/type"),
        ('{"type":', "https://example.org/r 1:9"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "https://example.org/r"),
        ({"items": {"$ref": "elsewhere"}}, "https://example.org/r#/items/$ref"),
    ],
)
def test_what_is_wrong_in_a_resource_is_placed_there(resource: Any, at: str) -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": "https://example.org/r",
    }
    with pytest.raises(GrammarError) as caught:
        Grammar.json_schema(schema, resources={"https://example.org/r": resource})
    assert caught.value.at == at


def test_resources_count_as_source() -> None:
    schema = {"$ref": "https://example.org/r"}
    large = {"https://example.org/r": {"description": "x" * 5_000}}
    with pytest.raises(LimitExceeded) as caught:
        Grammar.json_schema(schema, resources=large, limits=GrammarLimits(source_bytes=4_000))
    assert caught.value.limit == "source_bytes"


DRAFTS = {
    "http://json-schema.org/draft-04/schema#": jsonschema.Draft4Validator,
    "http://json-schema.org/draft-06/schema#": jsonschema.Draft6Validator,
    "http://json-schema.org/draft-07/schema#": jsonschema.Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": jsonschema.Draft201909Validator,
    "https://json-schema.org/draft/2020-12/schema": jsonschema.Draft202012Validator,
}
SCHEMAS: list[Any] = [{}, {"type": "string"}, {"type": "strin"}, {"minLength": -1},
                      {"properties": {"a": {"type": 1}}}, {"properties": {"a": {"type": "null"}}},
                      {"items": {"maxItems": 1.5}}, {"not": {"required": "a"}}, {"required": ["a"]},
                      {"allOf": [{"anyOf": []}]}, {"enum": [1, 2]}, {"title": 3}, 3, [],
                      {"minLength": 2}]  # fmt: skip


@pytest.mark.parametrize("uri", DRAFTS)
def test_schemas_of_every_draft_are_a_language(uri: str) -> None:
    # Their uniqueItems, over free texts, is dropped; no schema below depends on it.
    language = Language(Grammar.json_schema({"$schema": uri, "$ref": uri}, lenient=True))
    validator = DRAFTS[uri](DRAFTS[uri].META_SCHEMA)
    for schema in SCHEMAS:
        assert (json.dumps(schema) in language) == validator.is_valid(schema), schema
