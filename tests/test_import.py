"""`import treadle` is quick, and its names load only what they need."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.alone

PROBE = """
import json, sys, time
before = set(sys.modules)
start = time.process_time()  # not the wall: other work on the machine is not our cost
import treadle
took = time.process_time() - start
loaded = sorted(set(sys.modules) - before)
dir(treadle)
print(json.dumps([took, loaded]))
"""


def probe(code: str) -> object:
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(out.stdout)


def test_import_takes_less_than_50_ms_and_loads_nothing_of_note() -> None:
    runs = [probe(PROBE) for _ in range(3)]
    loaded = runs[0][1]
    print(f"import treadle: {min(took for took, _ in runs) * 1e3:.1f} ms; imported: {loaded}")
    assert min(took for took, _ in runs) < 0.05
    assert [name for name in loaded if name.startswith("treadle")] == ["treadle"]
    heavy = {"numpy", "msgspec", "torch", "starlette", "tokenizers", "asyncio", "pydantic"}
    assert not heavy & {name.split(".")[0] for name in loaded}


def test_every_public_name_resolves_and_no_other() -> None:
    code = """
import json, sys, treadle
from treadle import InvalidRequest, TreadleError
assert issubclass(InvalidRequest, TreadleError)
errors_only = sorted(m for m in sys.modules if m.startswith("treadle"))
for name in treadle.__all__:
    getattr(treadle, name)
heavy = [m for m in ("torch", "starlette", "pydantic", "transformers") if m in sys.modules]
try:
    treadle.nonsense
except AttributeError as error:
    heavy.append(str(error))
print(json.dumps([errors_only, heavy]))
"""
    errors_only, rest = probe(code)
    assert errors_only == ["treadle", "treadle.errors"]
    assert rest == ["module 'treadle' has no attribute 'nonsense'"]
