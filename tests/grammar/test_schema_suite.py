"""The official JSON-Schema-Test-Suite: every instance is judged right, or its schema is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from byte_matcher import Language
from schema_data import SUITE, load

from treadle.errors import GrammarError
from treadle.grammar import Grammar

FILES = sorted(SUITE.glob("*.json"))
FORMATS = sorted((SUITE / "format").glob("*.json"))

# Schemas that are refused, by file: the keyword each error names, and how many cases.
REFUSED = {
    "contains": {"contains": 7},
    "defs": {"$ref": 1},  # the meta-schema
    "dependentSchemas": {"minProperties": 1},
    "dynamicRef": {"$dynamicRef": 13, "$ref": 5},
    "not": {"unevaluatedProperties": 1},
    "ref": {"$ref": 1, "unevaluatedProperties": 1},
    "uniqueItems": {"uniqueItems": 3},
}

# Valid texts outside the subset that a format offers (see the table of formats).
SUBSET = {"hostname": "xn--"}


def language(schema: Any, *, formats: bool) -> Language | GrammarError:
    try:
        return Language(Grammar.json_schema(schema, formats=formats))
    except GrammarError as error:
        return error


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_instance_is_judged_right(path: Path) -> None:
    refused: dict[str, int] = {}
    for case in load(path):
        schema = case["schema"]
        found = language(schema, formats=False)
        if isinstance(found, GrammarError):
            if found.reason == "unsatisfiable":
                assert not any(test["valid"] for test in case["tests"]), case["description"]
                continue
            assert found.reason == "unsupported"
            assert found.keyword is not None
            refused[found.keyword] = refused.get(found.keyword, 0) + 1
            continue
        for test in case["tests"]:
            verdict = json.dumps(test["data"]) in found
            assert verdict == test["valid"], (case["description"], test["description"])
    assert refused == REFUSED.get(path.stem, {})


@pytest.mark.parametrize("path", FORMATS, ids=lambda path: path.stem)
def test_formats_are_the_standards_languages(path: Path) -> None:
    for case in load(path):
        found = language(case["schema"], formats=True)
        assert isinstance(found, Language), found
        for test in case["tests"]:
            data = test["data"]
            verdict = json.dumps(data) in found
            outside = SUBSET.get(path.stem)
            if test["valid"] and outside and outside in str(data):
                assert not verdict, "the subset has grown: update the table"
                continue
            assert verdict == test["valid"], test["description"]
