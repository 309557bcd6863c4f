"""`flashinfer_bench.utils`: types, devices and the environment of a run."""

# torch's own annotations are partial, and strict mode reports every gap where it is used.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

from treadle.errors import InvalidRequest
from treadle.kernels.apply.calling import torch_dtype
from treadle.kernels.schema import Environment
from treadle.kernels.schema.rules import V1_DTYPES


def dtype_str_to_python_dtype(dtype_str: str) -> type:
    """float, int or bool. Raises InvalidRequest for an unknown name."""
    _known(dtype_str)
    if dtype_str == "bool":
        return bool
    return int if dtype_str.startswith("int") else float


def dtype_str_to_torch_dtype(dtype_str: str) -> torch.dtype:
    """torch's type. Raises InvalidRequest for an unknown name."""
    _known(dtype_str)
    return torch_dtype("float4_e2m1fn_x2" if dtype_str == "float4_e2m1" else dtype_str)


def is_dtype_integer(dtype: torch.dtype) -> bool:
    """Whether a type is of integers or truth values."""
    return not dtype.is_floating_point and not dtype.is_complex


def is_cuda_available() -> bool:
    """Whether torch sees a CUDA device."""
    return torch.cuda.is_available()


def list_cuda_devices() -> list[str]:
    """`cuda:0`, …"""
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def hardware_from_device(device: str) -> str:
    """The model of a device, as flashinfer-bench writes it into traces."""
    found = torch.device(device)
    if found.type == "cuda":
        return torch.cuda.get_device_name(found.index)
    info = Path("/proc/cpuinfo")
    if found.type == "cpu" and info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or found.type


def env_snapshot(device: str) -> Environment:
    """Device and versions of a run."""
    libs: dict[str, str] = {"torch": str(torch.__version__)}
    cuda: Any = torch.version.cuda
    if cuda:
        libs["cuda"] = str(cuda)
    return Environment(hardware=hardware_from_device(device), libs=libs)


def _known(name: str) -> None:
    if name not in V1_DTYPES:
        raise InvalidRequest(f"{name!r} is no type", at="dtype", hint=f"one of {[*V1_DTYPES]}")
