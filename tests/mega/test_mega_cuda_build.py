"""Generated kernels compile for sm_90a, without spills and with the instructions meant."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cuda_host import program
from test_mega_cuda_experts import MODELS as EXPERTS
from test_mega_cuda_host import MODELS

from treadle.backends.mega.cuda_build import build, nvcc


def disassembler() -> str | None:
    """cuobjdump of the toolkit, or the one that triton carries."""
    found = shutil.which("cuobjdump") or shutil.which("/usr/local/cuda/bin/cuobjdump")
    if found is None:
        try:
            import triton
        except ImportError:
            return None
        path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        found = str(path) if path.exists() else None
    return found


@pytest.mark.skipif(nvcc() is None, reason="no nvcc on this machine")
@pytest.mark.parametrize("name", ["llama", "one-row"])
def test_a_kernel_fits_its_registers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_CACHE", os.environ.get("TREADLE_CACHE", str(tmp_path)))
    graph, workers, rows = (MODELS | EXPERTS)[name]
    cubin, log = build(program(graph, workers, rows, 256).text)
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log)
    assert spills, log
    assert set(spills) == {("0", "0")}, log
    (registers,) = re.findall(r"Used (\d+) registers", log)
    assert int(registers) <= 168
    tool = disassembler()
    if tool is None:
        pytest.skip("spills and registers hold; no cuobjdump to look for instructions")
    path = tmp_path / "step.cubin"
    path.write_bytes(cubin)
    sass = subprocess.run(
        [tool, "-sass", str(path)], check=True, capture_output=True, text=True
    ).stdout
    for wanted in ("UBLKCP", "HMMA.16816.F32.BF16", "SYNCS", "LDG.E.128.STRONG.GPU"):
        assert wanted in sass, wanted
    assert not re.search(r"\b(LDL|STL)\b", sass)
