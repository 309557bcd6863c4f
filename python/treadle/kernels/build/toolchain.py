"""Which compilers are here, and the words that compile one entry file with each.

A recipe also says what of this machine its output depends on, which goes into the cache key.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from treadle.kernels.build.artefact import Binding, BuildFailure
from treadle.kernels.build.flags import libraries
from treadle.kernels.schema import Solution

LIBRARY = "run.so"
MODULE = "treadle_solution"
_SHADERS = Path(__file__).with_name("shader_child.py")
_COMPILE = (
    "import sys\n"
    "for path in sys.argv[1:]:\n"
    "    with open(path, encoding='utf-8') as file:\n"
    "        text = file.read()\n"
    "    try:\n"
    "        compile(text, path, 'exec', dont_inherit=True)\n"
    "    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:\n"
    "        sys.exit(f'error: {path}: {problem}')\n"
)


class Recipe(NamedTuple):
    """How to make an artefact: command without sources, its output, what it depends on.

    `depends` are words of the cache key. `produces` is empty where the sources are the artefact.
    """

    binding: Binding
    command: list[str]
    tail: list[str]
    produces: str
    depends: list[str]


def recipe(solution: Solution, flags: Mapping[str, Sequence[str]], device: str) -> Recipe:
    """The recipe of a checked solution. Raises BuildFailure (`toolchain`) where a tool is missing,
    (`check`) for a binding that its language does not have."""
    language, binding = solution.spec.language, solution.spec.binding
    if language in ("python", "triton", "tilelang", "cutedsl", "cutile"):
        if binding is not None:
            raise BuildFailure(f"{language} has no binding {binding}", "check")
        version = platform.python_version()
        extra = [] if language == "python" else [f"{language} {_version(_PACKAGES[language])}"]
        return Recipe("python", [sys.executable, "-I", "-c", _COMPILE], [], "", [version, *extra])
    if language == "cpp":
        return _native(solution, _compiler("g++", "clang++"), _host(flags), flags)
    if language in ("cuda", "cutlass"):
        nvcc = _compiler("nvcc", "/usr/local/cuda/bin/nvcc")
        return _native(solution, nvcc, _cuda(flags, device), flags)
    if language == "wgsl":
        if binding is not None:
            raise BuildFailure(f"{language} has no binding {binding}", "check")
        found = importlib.util.find_spec("wgpu")
        if found is None or not found.submodule_search_locations:
            raise BuildFailure("wgsl needs the package wgpu", "toolchain")
        folder = Path(found.submodule_search_locations[0]).parent
        symbol = solution.spec.entry_point.partition("::")[2]
        command = [sys.executable, "-I", str(_SHADERS), str(folder), symbol]
        return Recipe("wgsl", command, [], "", [platform.python_version(), _version("wgpu")])
    raise BuildFailure(f"{language} is kept, but nothing here builds it", "toolchain")


_PACKAGES = {
    "triton": "triton", "tilelang": "tilelang", "cutedsl": "nvidia-cutlass-dsl",
    "cutile": "cuda-tile",
}  # fmt: skip


def _native(
    solution: Solution, tool: Path, words: list[str], flags: Mapping[str, Sequence[str]]
) -> Recipe:
    binding: Binding
    match solution.spec.binding:
        case "dlpack":
            binding, more, link, depends = "dlpack", [], [], []
        case "torch":
            binding = "torch"
            more, link, depends = _torch(solution.spec.language)
        case _:
            binding = "tvm-ffi"
            more, link, depends = _tvm_ffi(solution.spec.language)
    link = [*link, *flags["ld_flags"], *libraries(solution.spec.dependencies)]
    command = [str(tool), *words, *more]
    # Only what is compiled for "this processor" depends on which one this is.
    here = [_isa()] if any(word.endswith("=native") for word in command) else []
    return Recipe(
        binding, command, link, LIBRARY, [_banner(tool), *here, *command, *link, *depends]
    )


def _host(flags: Mapping[str, Sequence[str]]) -> list[str]:
    fixed = ["-shared", "-fPIC", "-O3", "-march=native", "-std=c++20", "-fno-plt"]
    return [*fixed, *flags["cflags"], *flags["cxx_flags"]]


def _cuda(flags: Mapping[str, Sequence[str]], device: str) -> list[str]:
    fixed = ["-shared", "-Xcompiler", "-fPIC", "-O3", "-Xptxas=-v"]
    asked = list(flags["cuda_cflags"])
    if not any("arch" in flag for flag in asked):
        hopper = any(name in device for name in ("H100", "H200")) or ":" not in device
        fixed += ["-gencode=arch=compute_90a,code=sm_90a"] if hopper else ["-arch=native"]
    if not any(flag.startswith("-std=") for flag in asked):
        fixed.append("-std=c++17")
    host = [word for flag in flags["cflags"] for word in ("-Xcompiler", flag)]
    return [*fixed, *asked, *host]


def _torch(language: str) -> tuple[list[str], list[str], list[str]]:
    try:
        import torch
        from torch.utils import cpp_extension
    except ImportError:
        raise BuildFailure("binding torch needs torch", "toolchain") from None
    kind = "cuda" if language != "cpp" else "cpu"
    include: list[str] = cpp_extension.include_paths(kind)
    folders: list[str] = cpp_extension.library_paths(kind)
    words = [f"-isystem{path}" for path in [*include, sysconfig.get_paths()["include"]]]
    words.append(f"-DTORCH_EXTENSION_NAME={MODULE}")
    link = [f"-L{path}" for path in folders]
    link += ["-lc10", "-ltorch", "-ltorch_cpu", "-ltorch_python"]
    if kind == "cuda":
        link += ["-lc10_cuda", "-ltorch_cuda"]
    return words, link, [f"torch {torch.__version__}", sys.version]


def _tvm_ffi(language: str) -> tuple[list[str], list[str], list[str]]:
    try:
        from tvm_ffi import libinfo  # pyright: ignore
    except ImportError:
        raise BuildFailure(
            "binding tvm-ffi needs the package apache-tvm-ffi", "toolchain"
        ) from None
    include: list[str] = libinfo.include_paths()  # pyright: ignore
    library = Path(str(libinfo.find_libtvm_ffi()))  # pyright: ignore
    words = [f"-isystem{path}" for path in include]  # pyright: ignore
    link = [f"-L{library.parent}", "-ltvm_ffi"] + (["-lcuda"] if language != "cpp" else [])
    return words, link, [f"apache-tvm-ffi {_version('apache-tvm-ffi')}"]


def _compiler(*names: str) -> Path:
    for name in names:
        found = shutil.which(name)
        if found:
            return Path(found)
    raise BuildFailure(f"no {names[0]} on this machine", "toolchain")


@cache
def _banner(tool: Path) -> str:
    """What a compiler says of its version."""
    said = subprocess.run(  # noqa: S603 - a compiler found on PATH
        [str(tool), "--version"], capture_output=True, text=True, check=False, timeout=60
    )
    return said.stdout


@cache
def _isa() -> str:
    """A hash of what this processor can do, on which -march=native depends."""
    words = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith(("flags", "Features")):
                words += " ".join(sorted(line.partition(":")[2].split()))
                break
    return hashlib.sha256(words.encode()).hexdigest()


@cache
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
