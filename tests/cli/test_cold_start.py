"""What `treadle run` pays for before its first token, as far as it does not depend on the clock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from treadle.models.sources import locate

# Each of these was once on the way and cost from ten to a hundred milliseconds, or megabytes.
UNNEEDED = {
    "OpenSSL": "_hashlib",
    "a package's files as resources": "importlib.resources",
    "arrays": "numpy",
    "classes written as text": "dataclasses",
    "signatures and sources": "inspect",
    "what typing has": "typing_extensions",
    "archives": "shutil",
    "grammars of free text": "treadle.grammar",
    "tools of a request without": "treadle.text.formats",
    "patterns of Unicode": "tokenizers",
    "loggers": "logging",
    "another family": "treadle.models.gemma3",
    "what makes a plan": "treadle.mega",
    "what makes a graph": "treadle.graph",
    "syntax trees": "ast",
    "texts of JSON": "json",
    "help and mistakes": "argparse",
    "other languages": "locale",
    "what makes a tokeniser": "treadle.text.gguf",
    "options of a server": "treadle.config.services",
    "spelling mistakes": "difflib",
}
RUN = """
import re, sys
before = set(sys.modules)
from treadle.cli.main import main
code = main(["run", "Say hi.", "--max-tokens", "1", "--temperature", "0", "--threads", "2"])
status = open("/proc/self/status").read()
peak = int(re.search(r"VmHWM:\\s*(\\d+)", status)[1])
print(code, peak, *sorted(set(sys.modules) - before))
"""


def _run() -> dict[str, Any]:
    command = [sys.executable, "-c", RUN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    code, peak, *modules = done.stdout.splitlines()[-1].split()
    return {"code": int(code), "peak": int(peak) * 1024, "modules": modules}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_a_start_that_finds_everything_made_imports_and_holds_little() -> None:
    _run()  # makes what the next one finds
    told = _run()
    assert told["code"] == 0
    found = {what: name for what, name in UNNEEDED.items() if name in told["modules"]}
    assert not found
    # Weights are held once: neither the file's pages nor a copy stay beside the packed ones.
    assert told["peak"] < locate("smollm2-135m", progress=False).stat().st_size + 28e6
