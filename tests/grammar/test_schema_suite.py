"""The official JSON-Schema-Test-Suite: every instance is judged right, or its schema is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from byte_matcher import Language
from schema_data import DATA, SUITE, load

from treadle.errors import GrammarError
from treadle.grammar import Grammar

FILES = sorted([*SUITE.glob("*.json"), *(SUITE / "optional").glob("*.json")])
FORMATS = sorted((SUITE / "format").glob("*.json"))
DOCS = DATA.parents[2] / "docs" / "grammar.md"

# Schemas that are refused, by file: the keyword each error names, and how many cases.
REFUSED = {
    "optional/dependencies-compatibility": {"minProperties": 1},
    "dependentSchemas": {"minProperties": 1},
    "dynamicRef": {"$ref": 5},  # documents that the suite serves
    "not": {"not": 1},
    "unevaluatedProperties": {"unevaluatedProperties": 1},
    "uniqueItems": {"uniqueItems": 2},
}

# Valid texts outside the subset that a format offers: how many (see the notes of a grammar).
OUTSIDE = {"hostname": 15, "idn-hostname": 22}


def language(schema: Any, *, formats: bool) -> Language | GrammarError:
    try:
        return Language(Grammar.json_schema(schema, formats=formats))
    except GrammarError as error:
        return error


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
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
    assert refused == REFUSED.get(path.relative_to(SUITE).with_suffix("").as_posix(), {})


@pytest.mark.parametrize("path", FORMATS, ids=lambda path: path.stem)
def test_formats_are_the_standards_languages(path: Path) -> None:
    outside = 0
    for case in load(path):
        found = language(case["schema"], formats=True)
        assert isinstance(found, Language), found
        for test in case["tests"]:
            verdict = json.dumps(test["data"]) in found
            outside += test["valid"] and not verdict
            assert test["valid"] or not verdict, test["description"]
    assert outside == OUTSIDE.get(path.stem, 0)


def test_the_table_of_refusals_names_every_refused_keyword() -> None:
    table = DOCS.read_text("utf-8").split("| refused | when |")[1].split("\n\n")[0]
    named = set(re.findall(r"`([^`]+)`", "".join(re.findall(r"^\|[^|]+\|", table, re.MULTILINE))))
    assert {keyword for counts in REFUSED.values() for keyword in counts} <= named
