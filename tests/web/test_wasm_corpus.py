"""The corpus that the wasm engine is tested with says what the native engine says today."""

from __future__ import annotations

import json
from typing import Any

import pytest
from corpus import PATH, Case, compilers, run_case
from msgspec.structs import fields

from treadle.grammar import Matcher, Vocab
from treadle.limits import GrammarLimits
from treadle.text import Tokenizer

CORPUS: Case = json.loads(PATH.read_text())
COMPILERS = compilers(CORPUS)
INPUTS = ("vocabulary", "kind", "source", "parts", "options", "file", "maskbench")


@pytest.mark.parametrize("kind", sorted({case["kind"] for case in CORPUS["cases"]}))
def test_native_engine_agrees_with_the_corpus(kind: str) -> None:
    ran = 0
    for case in CORPUS["cases"]:
        if case["kind"] != kind:
            continue
        tokens: list[int] = case.get("tokens", [])

        def choose(_: list[int], matcher: Matcher, tokens: list[int] = tokens) -> int | None:
            return tokens[matcher.steps] if matcher.steps < len(tokens) else None

        recorded: dict[str, Any] = {k: v for k, v in case.items() if k not in INPUTS}
        said = run_case(case, COMPILERS[case["vocabulary"]], choose)
        inputs = {k: case[k] for k in INPUTS if k in case}
        assert said == recorded, f"{inputs}: if meant so, run python tests/web/write_corpus.py"
        ran += len(case.get("steps", "").split())
    assert ran > 0


def test_corpus_reaches_every_kind_and_both_failures() -> None:
    cases = CORPUS["cases"]
    assert len({case["kind"] for case in cases}) == 11
    codes = {case["error"]["code"] for case in cases if "error" in case}
    assert codes >= {"grammar_error", "limit_exceeded"}
    assert sum(len(case.get("tokens", ())) for case in cases) > 2000


def test_typescript_knows_every_limit() -> None:
    text = (PATH.parents[2] / "web" / "src" / "grammar" / "limits.ts").read_text()
    for field in fields(GrammarLimits):
        head, *tail = field.name.split("_")
        name = head + "".join(part.capitalize() for part in tail)
        assert f"  {name}?: number;" in text, f"limits.ts lacks {name}"


def test_python_agrees_with_the_hashes_of_tokenizers() -> None:
    cases = json.loads((PATH.parent / "tokenizers.json").read_text())
    assert cases
    for case in cases:
        table = Tokenizer.from_json(json.dumps(case["tokenizer"]).encode(), case["config"]).table
        assert Vocab(table).hash == case["hash"], case["name"]
