"""Triton solutions against their references, by Triton's interpreter, in float32.

The interpreter is chosen when Triton is imported, hence a process of its own. Where Triton is not
installed, sources are compiled to bytecode only (`test_solutions_match`).
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
SLOW = ("experts_silu_h576", "route_experts_silu_softmax_e4_h576")
"""The interpreter takes half a minute for each."""

SCRIPT = """
import json, sys
from pathlib import Path
import msgspec
sys.path.insert(0, "tests/kernels")
import test_solutions_match as match
from treadle.kernels.build import build, load

worst = {}
for name, d in match.definitions().items():
    family = match.family_of(d, match.EVERYWHERE)
    solution = match.pack(d, "triton", family, match.ROOT / "sources")
    artefact = build(solution, d, device="cuda:H200", cache=Path(sys.argv[1]))
    if sys.argv[2] == "build" or name.startswith(tuple(sys.argv[3:])):
        continue
    plain = msgspec.to_builtins(match.in_float32(d))
    for rows, seed in ((1, 0), (6, 1)):
        given = match.cases.operands(plain, rows, seed=seed)
        try:
            found = match.run(solution, match.in_float32(d), load(artefact), given)
            share = match.cases.excess(plain, given, found)
        except Exception as problem:
            share = f"{type(problem).__name__}: {problem}"
        worst.setdefault(name, []).append(share)
print(json.dumps(worst))
"""


@pytest.mark.parametrize("what", ["build", "interpret"])
def test_triton_solutions_compute_what_their_references_do(what: str, tmp_path: Path) -> None:
    if what == "interpret" and importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), what, *SLOW],
        cwd=ROOT, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    worst = json.loads(done.stdout.splitlines()[-1])
    if what == "interpret":
        assert len(worst) > 60
    wrong = {n: v for n, v in worst.items() if any(isinstance(x, str) or not x <= 1 for x in v)}
    assert not wrong
