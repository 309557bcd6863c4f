"""Structural tags against verdicts of xgrammar 0.2.8, recorded with its own matcher.

Each entry is a format with texts that xgrammar accepts and refuses: some written by hand, others
random edits of those. The schemas are closed, for what keys an open one may add differs between
the engines.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from byte_matcher import Language

from treadle.grammar import Grammar

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "tag_xgrammar.json").read_text("utf-8")
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["format"]["type"])
def test_the_verdicts_are_the_same(case: dict[str, Any]) -> None:
    language = Language(Grammar.tag({"type": "structural_tag", "format": case["format"]}))
    assert [text for text in case["accepted"] if text not in language] == []
    assert [text for text in case["refused"] if text in language] == []
    assert case["accepted"]
