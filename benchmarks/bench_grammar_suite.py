"""The official JSON Schema tests in every engine that is installed: right, wrong, refused.

    python benchmarks/bench_grammar_suite.py

Texts as json.dumps writes them, over the vocabulary of the 256 bytes. treadle reads `format` as the
suite does: an annotation in the main files, asserted in the `format` files, where formats="exact"
refuses those of which it offers only a subset. The peers have no such option and are judged by
their defaults. References of treadle's lead to the documents that the suite serves. An engine that
is not installed keeps its stored figures. Writes benchmarks/results/grammar_suite.json, from which
scripts/write_docs.py makes its table.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import time
from pathlib import Path
from typing import Any, Literal

from machine import RESULTS, versions, write

TESTS = Path(__file__).parents[1] / "tests" / "grammar"
SUITE = TESTS / "data" / "json_schema_test_suite"
sys.path.insert(0, str(TESTS))


def files() -> dict[str, Path]:
    """Name of the table → file."""
    found = {path.stem: path for path in sorted(SUITE.glob("*.json"))}
    for folder in ("optional", "format"):
        found |= {f"{folder}/{path.stem}": path for path in sorted((SUITE / folder).glob("*.json"))}
    return found


def language(engine: str, schema: Any, formats: Literal["annotate", "exact"]) -> Any:
    """`text in language`; None when the schema is refused, () when nothing is in it."""
    from byte_matcher import Language
    from differential_peers import PeerLanguage, RefusedError
    from schema_data import REMOTES

    from treadle.errors import GrammarError, TreadleError
    from treadle.grammar import Grammar

    if engine != "treadle":
        try:
            return PeerLanguage(engine, "json_schema", schema)
        except RefusedError:
            return None
    try:
        return Language(Grammar.json_schema(schema, formats=formats, resources=REMOTES))
    except TreadleError as error:
        empty = isinstance(error, GrammarError) and error.reason == "unsatisfiable"
        return () if empty else None


def judge(engine: str) -> dict[str, list[int]]:
    """[right, wrong, refused] texts a file."""
    out: dict[str, list[int]] = {}
    begin = time.monotonic()
    for name, path in files().items():
        counts = [0, 0, 0]
        for case in json.loads(path.read_text("utf-8")):
            formats = "exact" if name.startswith("format/") else "annotate"
            found = language(engine, case["schema"], formats)
            for test in case["tests"]:
                if found is None:
                    counts[2] += 1
                else:
                    counts[(json.dumps(test["data"]) in found) != test["valid"]] += 1
        out[name] = counts
        print(f"{engine}: {name}, {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    return out


def main() -> None:
    """Runs the suite and writes the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    from differential_peers import PEERS, installed

    path = RESULTS / "grammar_suite.json"
    stored = json.loads(path.read_text("utf-8"))["engines"] if path.exists() else {}
    for engine in ("treadle", *PEERS):
        if engine != "treadle" and not installed(engine):
            print(f"{engine} is not installed; its stored figures stay", file=sys.stderr)
            continue
        version = "this tree" if engine == "treadle" else importlib.metadata.version(engine)
        stored[engine] = {"version": version, "files": judge(engine)}
    for engine, found in stored.items():
        total = [sum(counts) for counts in zip(*found["files"].values(), strict=True)]
        print(f"{engine}: {total[0]} right, {total[1]} wrong, {total[2]} refused")
    figures = {
        "benchmark": "bench_grammar_suite",
        "options": {"main and optional": 'formats="annotate"', "format": 'formats="exact"'},
        "engines": stored,
        "versions": versions(),
    }
    print(write("grammar_suite", figures))


if __name__ == "__main__":
    main()
