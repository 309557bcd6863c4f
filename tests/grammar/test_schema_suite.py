"""The official JSON-Schema-Test-Suite: every instance is judged right, or its schema is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from byte_matcher import Language
from schema_data import DATA, REMOTES, SUITE, load

from treadle.errors import GrammarError
from treadle.grammar import Grammar
from treadle.grammar.schema import Formats

FILES = sorted([*SUITE.glob("*.json"), *(SUITE / "optional").glob("*.json")])
FORMATS = sorted((SUITE / "format").glob("*.json"))
DOCS = DATA.parents[2] / "docs" / "grammar.md"

# Schemas that are refused, by file: the keyword each error names, and how many cases.
REFUSED = {
    "optional/dependencies-compatibility": {"minProperties": 1},
    "dependentSchemas": {"minProperties": 1},
    "not": {"not": 1},
    "optional/ecmascript-regex": {"pattern": 1, "patternProperties": 1},
    "unevaluatedProperties": {"unevaluatedProperties": 1},
    "uniqueItems": {"uniqueItems": 2},
}

# Valid texts outside the subset that a format offers: how many (see the notes of a grammar).
OUTSIDE = {"ecmascript-regex": 4, "hostname": 15, "idn-hostname": 22}
# Formats of which only a subset is offered, which formats="exact" refuses.
SUBSETS = {"ecmascript-regex", "hostname", "idn-email", "idn-hostname", "regex"}


def language(schema: Any, formats: Formats) -> Language | GrammarError:
    try:
        return Language(Grammar.json_schema(schema, formats=formats, resources=REMOTES))
    except GrammarError as error:
        return error


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_instance_is_judged_right(path: Path) -> None:
    refused: dict[str, int] = {}
    for case in load(path):
        schema = case["schema"]
        found = language(schema, "annotate")
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
        found = language(case["schema"], "assert")
        assert isinstance(found, Language), found
        for test in case["tests"]:
            verdict = json.dumps(test["data"]) in found
            outside += test["valid"] and not verdict
            assert test["valid"] or not verdict, test["description"]
    assert outside == OUTSIDE.get(path.stem, 0)


@pytest.mark.parametrize("path", FORMATS, ids=lambda path: path.stem)
def test_exact_formats_leave_nothing_out(path: Path) -> None:
    for case in load(path):
        found = language(case["schema"], "exact")
        if path.stem in SUBSETS:
            assert isinstance(found, GrammarError)
            assert (found.reason, found.keyword, found.at) == ("unsupported", "format", "/format")
        else:
            assert isinstance(found, Language)
            assert OUTSIDE.get(path.stem, 0) == 0


@pytest.mark.parametrize("name", ["hostname", "idn-hostname", "idn-email", "regex"])
def test_what_is_no_part_of_a_subset_may_still_be_of_the_format(name: str) -> None:
    schema = {"format": name}
    refused: list[Any] = [{"not": schema}, {"if": schema, "then": {"maxLength": 3}}]
    refused.append({"oneOf": [schema, {"pattern": "^xn--|[(]"}]})
    for each in refused:
        found = language(each, "assert")
        assert isinstance(found, GrammarError), each
        assert found.reason == "unsupported"
    assert isinstance(language({"not": {"not": schema}}, "assert"), Language)
    assert isinstance(language({"not": schema}, "annotate"), GrammarError)  # nothing is left


def test_a_meta_schema_may_leave_vocabularies_out() -> None:
    home = "https://json-schema.org/draft/2020-12/"
    core, own = f"{home}vocab/core", "x:own"

    def judged(vocabularies: dict[str, bool], schema: dict[str, Any]) -> Language | GrammarError:
        meta = {"$schema": f"{home}schema", "$vocabulary": vocabularies}
        try:
            options = {"x:meta": meta}
            return Language(Grammar.json_schema({"$schema": "x:meta", **schema}, resources=options))
        except GrammarError as error:
            return error

    plain = judged({core: True, f"{home}vocab/validation": True}, {"type": "array", "items": False})
    assert isinstance(plain, Language)
    assert "[1]" in plain
    assert "1" not in plain
    for schema, refused in ({core: True, own: True}, True), ({core: True, own: False}, False):
        found = judged(schema, {"type": "array"})
        assert isinstance(found, GrammarError) == refused
        assert refused or "1" in found
    unknown = language({"$schema": "x:nobody", "type": "array"}, "assert")
    assert isinstance(unknown, GrammarError)
    assert (unknown.keyword, unknown.at) == ("$schema", "/$schema")


def test_the_table_of_refusals_names_every_refused_keyword() -> None:
    table = DOCS.read_text("utf-8").split("| refused | when |")[1].split("\n\n")[0]
    named = set(re.findall(r"`([^`]+)`", "".join(re.findall(r"^\|[^|]+\|", table, re.MULTILINE))))
    assert {keyword for counts in REFUSED.values() for keyword in counts} <= named
