"""A generated source to a cubin for sm_90a: nvcc, cached by content."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from treadle.errors import KernelError, Unsupported
from treadle.models.wheel import cache_dir

FLAGS = (
    "-O3", "-std=c++20", "-gencode=arch=compute_90a,code=sm_90a", "-cubin", "-Xptxas", "-v",
)  # fmt: skip


def nvcc() -> str | None:
    """The CUDA compiler of this machine, if it has one."""
    return shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


@cache
def templates() -> Path:
    """The folder above `mega/*.cuh`: beside the package where it is installed, else in the tree."""
    package = Path(__file__).parents[2]
    return next((p for p in (package / "cuda", package.parents[1] / "cuda") if p.is_dir()), package)


def build(text: str) -> tuple[bytes, str]:
    """The cubin of a source and what the compiler said of its registers.

    Raises Unsupported without a compiler, KernelError with the end of its log if it fails.
    """
    tool = nvcc()
    if tool is None:
        raise Unsupported("no nvcc on this machine", hint="install the CUDA toolkit, 12.8 or newer")
    found = hashlib.sha256(text.encode())
    for path in sorted((templates() / "mega").glob("*.cuh")):
        found.update(path.read_bytes())
    said = subprocess.run([tool, "--version"], check=True, capture_output=True)  # noqa: S603 - found
    found.update(said.stdout)
    found.update(" ".join(FLAGS).encode())
    kept = cache_dir() / "cubins" / found.hexdigest()[:32]
    if (kept / "step.cubin").is_file():
        return (kept / "step.cubin").read_bytes(), (kept / "log").read_text()
    kept.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=kept.parent))
    (made / "step.cu").write_text(text)
    done = subprocess.run(  # noqa: S603 - our own text
        [tool, *FLAGS, f"-I{templates()}", "-o", str(made / "step.cubin"), str(made / "step.cu")],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    log = done.stdout + done.stderr
    if done.returncode:
        raise KernelError(f"nvcc failed: {log[-2000:]}", at=str(made / "step.cu"))
    (made / "log").write_text(log)
    try:
        os.replace(made, kept)
    except OSError:  # somebody else was first
        shutil.rmtree(made, ignore_errors=True)
    return (kept / "step.cubin").read_bytes(), log
