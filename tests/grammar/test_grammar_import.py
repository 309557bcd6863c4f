"""What `import treadle.grammar` loads: nothing that it could do without, so that it stays quick."""

from __future__ import annotations

import json
import subprocess
import sys

PROBE = """
import json, sys
before = set(sys.modules)
{}
print(json.dumps(sorted(set(sys.modules) - before)))
"""
# Each costs milliseconds, most of them tens; json and the limits load with the first use.
HEAVY = {"dataclasses", "inspect", "json", "numpy", "msgspec", "pathlib", "asyncio", "logging"}


def loaded(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(code)], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


def test_the_import_loads_no_heavy_module() -> None:
    names = loaded("import treadle.grammar")
    assert not HEAVY & {name.split(".")[0] for name in names}
    ours = {name for name in names if name.startswith("treadle.") and "grammar" not in name}
    assert ours == {"treadle._core", "treadle.errors"}


def test_a_grammar_needs_no_more() -> None:
    names = loaded("from treadle.grammar import Grammar; Grammar.regex('a*')")
    assert "treadle.grammar" in names
    assert not HEAVY & {name.split(".")[0] for name in names}
