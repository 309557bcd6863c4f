"""`treadle doctor`: what this machine offers, what is cached, and which backend would be chosen."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from treadle.backends.table import choose
from treadle.config import DoctorConfig, parse
from treadle.models import cache_dir
from treadle.version import __version__

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "firefox", "microsoft-edge")
_ISA = ("avx2", "f16c", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16",
        "amx_int8", "asimd", "asimddp", "i8mm", "sve")  # fmt: skip
_PACKAGES = ("numpy", "tokenizers", "minijinja", "starlette", "torch", "triton", "transformers")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    topic: str
    value: str


def findings() -> list[Finding]:
    """Everything the doctor looks at, in the order it is printed. Never raises."""
    backend, reason = choose(None)
    rows = [
        Finding("treadle", f"{__version__}, Python {platform.python_version()}, {_core()}"),
        Finding("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        Finding("cores", str(len(_affinity()))),
        Finding("memory", _memory()),
        Finding("ISA", " ".join(_isa()) or "baseline only"),
        Finding("GPU", _gpus()),
        Finding("Vulkan", _vulkan()),
        Finding("browsers", ", ".join(b for b in _BROWSERS if shutil.which(b)) or "none found"),
    ]
    rows += [Finding("package", f"{name} {_version(name)}") for name in _PACKAGES]
    models = cached_models()
    rows.append(Finding("cache", str(cache_dir())))
    rows += [Finding("model", f"{name} ({size / 2**20:.0f} MiB)") for name, size in models]
    if not models:
        rows.append(Finding("model", "none cached; `treadle pull smollm2-135m` fetches one"))
    rows.append(Finding("backend", f"{backend}: {reason}"))
    return rows


def cached_models() -> list[tuple[str, int]]:
    """Weight files in treadle's cache: path relative to it, and bytes."""
    root = cache_dir()
    files = [p for kind in ("*.gguf", "*.safetensors") for p in Path(root).rglob(kind)]
    return sorted((str(p.relative_to(root)), p.stat().st_size) for p in files)


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _memory() -> str:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        free = os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "unknown"
    return f"{pages * size / 2**30:.1f} GiB, {free * size / 2**30:.1f} GiB free"


def _isa() -> list[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []
    for line in text.splitlines():
        if line.startswith(("flags", "Features")):
            flags = set(line.partition(":")[2].split())
            return [name for name in _ISA if name in flags]
    return []


def _gpus() -> str:
    """Names and memory of CUDA devices by the driver alone; no framework is loaded."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no CUDA driver"
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return "a CUDA driver that does not start"
    names: list[str] = []
    for index in range(count.value):
        name = ctypes.create_string_buffer(128)
        size = ctypes.c_size_t()
        driver.cuDeviceGetName(name, len(name), index)
        driver.cuDeviceTotalMem_v2(ctypes.byref(size), index)
        names.append(f"{name.value.decode()} ({size.value / 2**30:.0f} GiB)")
    return ", ".join(names) or "no CUDA device"


def _vulkan() -> str:
    """The loader and the drivers that announce themselves to it."""
    if not ctypes.util.find_library("vulkan"):
        return "no loader"
    folders = ("/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d")
    drivers = sorted({p.stem for folder in folders for p in Path(folder).glob("*.json")})
    return f"loader found; drivers: {', '.join(drivers) or 'none'}"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _core() -> str:
    return "core built" if importlib.util.find_spec("treadle._core") else "core missing"


def main(arguments: Sequence[str]) -> int:
    """Prints the report."""
    config = parse(DoctorConfig, arguments, prog="treadle doctor")
    rows = findings()
    if config.json:
        topics = dict.fromkeys(row.topic for row in rows)
        found = {topic: [row.value for row in rows if row.topic == topic] for topic in topics}
        print(json.dumps(found))
    else:
        print("\n".join(f"{row.topic:10} {row.value}" for row in rows))
    return 0
