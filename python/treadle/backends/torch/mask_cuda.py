"""Masks applied to logits by `apply_mask.cu`, built by torch where a CUDA compiler is installed."""

# torch's extension loader has no annotations.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import importlib.util
import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from treadle.errors import KernelError, Unsupported

if TYPE_CHECKING:
    from treadle.backends.torch.mask import Job

_SOURCE = Path(__file__).with_name("apply_mask.cu")


@cache
def available() -> bool:
    """Whether there is a device, and nvcc and ninja to build for it. Builds nothing."""
    if not torch.cuda.is_available() or not _nvcc():
        return False
    return shutil.which("ninja") is not None or importlib.util.find_spec("ninja") is not None


def run(job: Job) -> None:
    """Launches one kernel on the current stream. The first call builds it, and takes a minute."""
    empty = torch.empty(0, dtype=torch.int32, device=job.logits.device)
    _built().apply_mask(
        job.logits,
        job.table,
        empty if job.staging is None else job.staging,
        empty if job.ids is None else job.ids,
        empty if job.index is None else job.index,
        job.positions,
        job.ids is not None,
        job.index is not None,
        job.keep_beyond,
    )


def _nvcc() -> str | None:
    from torch.utils import cpp_extension

    home = cpp_extension.CUDA_HOME
    inside = Path(home, "bin", "nvcc") if home else None
    return str(inside) if inside and inside.exists() else shutil.which("nvcc")


@cache
def _built() -> Any:
    if not available():
        raise Unsupported("no CUDA compiler was found", at="way", hint='give way="triton"')
    from torch.utils import cpp_extension

    try:
        return cpp_extension.load(
            "treadle_apply_mask", [str(_SOURCE)], extra_cuda_cflags=["-O3"], verbose=False
        )
    except (RuntimeError, OSError) as error:
        raise KernelError(f"build failed: {error}", at=_SOURCE.name) from error
