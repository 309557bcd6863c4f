"""docs/grammar-keywords.md: what each keyword's official tests say, as the tests pin it.

treadle's columns come from the suite's files and from the exceptions that
tests/grammar/test_schema_suite.py asserts; the peers' from benchmarks/results/grammar_suite.json.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SUITE = ROOT / "tests" / "grammar" / "data" / "json_schema_test_suite"
PINS = ROOT / "tests" / "grammar" / "test_schema_suite.py"
PEERS = ROOT / "benchmarks" / "results" / "grammar_suite.json"
HEAD = """# JSON Schema, keyword by keyword

Written by `scripts/write_docs.py` from the official JSON-Schema-Test-Suite (draft 2020-12) and from
what `tests/grammar/test_schema_suite.py` asserts about it; edit those instead. The peers' columns
are measured by `benchmarks/bench_grammar_suite.py`.

An entry is *right / wrong / refused*: texts judged as the suite says, texts judged otherwise, and
texts whose schema does not compile. What treadle refuses it refuses by name and place; nothing that
compiles is wrong, but for valid texts outside the subset of four formats (*narrower*).
"""


def pins() -> dict[str, Any]:
    """REFUSED and OUTSIDE of the test, read without running it."""
    found: dict[str, Any] = {}
    for node in ast.parse(PINS.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("REFUSED", "OUTSIDE"):
                found[name] = ast.literal_eval(node.value)
    return found


def document() -> str:
    """The whole page."""
    pinned = pins()
    peers = json.loads(PEERS.read_text("utf-8")) if PEERS.exists() else {"engines": {}}
    engines = {name: found for name, found in peers["engines"].items() if name != "treadle"}
    ours = peers["engines"].get("treadle", {}).get("files", {})
    parts = [HEAD, "## Keywords\n", _head(engines, "keyword")]
    for path in sorted(SUITE.glob("*.json")):
        parts.append(_keyword(path.stem, path, pinned["REFUSED"], ours, engines))
    parts += ["\n## Optional parts\n", _head(engines, "file")]
    for path in sorted((SUITE / "optional").glob("*.json")):
        name = f"optional/{path.stem}"
        parts.append(_keyword(name, path, pinned["REFUSED"], ours, engines))
    parts += ["\n## Formats\n", _head(engines, "format")]
    for path in sorted((SUITE / "format").glob("*.json")):
        parts.append(_format(path, pinned["OUTSIDE"], engines))
    return "\n".join(parts) + "\n"


def _head(engines: dict[str, Any], first: str) -> str:
    names = ["treadle", *(f"{name} {found['version']}" for name, found in engines.items())]
    titles = f"| {first} | schemas | texts | {' | '.join(names)} | treadle refuses |"
    return f"{titles}\n{'|---' * (len(names) + 4)}|"


def _keyword(
    name: str, path: Path, refused: dict[str, Any], ours: dict[str, Any], engines: dict[str, Any]
) -> str:
    cases = json.loads(path.read_text("utf-8"))
    texts = sum(len(case["tests"]) for case in cases)
    blamed = refused.get(name, {})
    lost = ours.get(name, [texts, 0, 0])[2] if blamed else 0
    why = ", ".join(f"`{key}` in {count} of its schemas" for key, count in blamed.items())
    mine = f"{texts - lost} / 0 / {lost}"
    return _row(f"`{name}`", len(cases), texts, mine, _others(name, engines), why)


def _format(path: Path, outside: dict[str, int], engines: dict[str, Any]) -> str:
    cases = json.loads(path.read_text("utf-8"))
    texts = sum(len(case["tests"]) for case in cases)
    out = outside.get(path.stem, 0)
    mine = f"{texts - out} / 0 / 0" + (f", {out} narrower" if out else "")
    return _row(
        f"`{path.stem}`", len(cases), texts, mine, _others(f"format/{path.stem}", engines), ""
    )


def _others(name: str, engines: dict[str, Any]) -> list[str]:
    rows = [found["files"].get(name) for found in engines.values()]
    return ["-" if row is None else " / ".join(map(str, row)) for row in rows]


def _row(name: str, schemas: int, texts: int, mine: str, others: list[str], why: str) -> str:
    return f"| {' | '.join([name, str(schemas), str(texts), mine, *others, why])} |"
