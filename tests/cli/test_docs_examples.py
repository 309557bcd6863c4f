"""The programs under examples/ run and keep their promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_loop_of_ones_own_answers_validly(seed: int) -> None:
    program = EXAMPLES / "grammar" / "own_loop.py"
    done = subprocess.run(
        [sys.executable, str(program), "--seed", str(seed)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    schema = json.loads((EXAMPLES / "person.schema.json").read_text())
    jsonschema.validate(json.loads(done.stdout), schema)
