"""The type stub of the extension is what the generator makes of the extension as built."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import treadle

ROOT = Path(__file__).parents[2]


def test_stub_is_current(tmp_path: Path) -> None:
    made = tmp_path / "_core.pyi"
    stubgen = [sys.executable, "-m", "nanobind.stubgen", "-q", "-m", "treadle._core"]
    patterns = ["-p", str(ROOT / "cpp/bind/stub.pat"), "-o", str(made)]
    source = str(Path(treadle.__file__).parents[1])
    subprocess.run([*stubgen, *patterns, "-i", source], check=True, cwd=ROOT)
    subprocess.run(
        [sys.executable, "-m", "ruff", "format", "-q", "--isolated", str(made)],
        check=True,
        cwd=ROOT,
    )
    kept = Path(treadle.__file__).with_name("_core.pyi").read_text()
    assert made.read_text() == kept, "regenerate python/treadle/_core.pyi; the command is above"
