"""Solutions made of the sources beside a dataset: `sources/{torch,triton,cpp,cuda}` → ours.

One file an op and language; what a definition bakes in goes into `constants.h` or `constants.py`.
Compiled ones have the binding `dlpack`, which a v1 reader does not know, so they live under `ext/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from treadle.errors import NotFound
from treadle.kernels.families import (
    CUDA,
    EVERYWHERE,
    PACKED,
    STREAMED,
    Family,
    cpp_constants,
    cuda_constants,
    cuda_takes,
    family_of,
    python_constants,
)
from treadle.kernels.schema import Definition, Solution, Source, Spec

AUTHOR = "treadle"


class Kit(NamedTuple):
    """A folder of sources: language, ending, constants, targets, flags, how a file names another.

    compiled: entries are C functions with binding `dlpack`, which take their outputs last. folder:
    where its files lie, its own name if empty. prepare: symbols that prepare weights, by the keys
    of `Preparation`.
    """

    language: str
    ending: str
    families: tuple[Family, ...]
    constants: tuple[str, Callable[[Definition], str]]
    hardware: list[str]
    mention: re.Pattern[str]
    flags: dict[str, list[str]] | None = None
    compiled: bool = False
    folder: str = ""
    prepare: Mapping[str, str] = {}


_INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)
_IMPORT = re.compile(r"^from \.(\w+) import", re.MULTILINE)
_HOPPER = ["H100", "H200"]
_NVCC = {"cuda_cflags": ["-O3", "-std=c++17", "-gencode=arch=compute_90a,code=sm_90a"]}
_PREPARING = {"entry": "prepare", "run": "run_prepared", "release": "release"}

KITS: Mapping[str, Kit] = {
    "cuda": Kit(
        "cuda", ".cu", CUDA, ("constants.h", cuda_constants), _HOPPER, _INCLUDE,
        _NVCC, True,
    ),
    "cuda_stream": Kit(
        "cuda", ".cu", STREAMED, ("constants.h", cuda_constants), _HOPPER, _INCLUDE,
        _NVCC, True, "cuda", _PREPARING,
    ),
    "cpp": Kit(
        "cpp", ".cc", EVERYWHERE, ("constants.h", cpp_constants), ["cpu"], _INCLUDE,
        {"cflags": ["-O3", "-march=native", "-std=c++20", "-fopenmp-simd"]}, True,
    ),
    "cpp_packed": Kit(
        "cpp", ".cc", PACKED, ("constants.h", cpp_constants), ["cpu"], _INCLUDE,
        {"cflags": ["-O3", "-march=native", "-std=c++20", "-fopenmp-simd"]}, True, "cpp",
        _PREPARING,
    ),
    "triton": Kit(
        "triton", ".py", EVERYWHERE, ("constants.py", python_constants), _HOPPER, _IMPORT,
    ),
    "torch": Kit(
        "python", ".py", EVERYWHERE, ("constants.py", python_constants), ["cpu", *_HOPPER], _IMPORT,
    ),
}  # fmt: skip


def packed(definitions: Mapping[str, Definition], sources: Path) -> Iterator[Solution]:
    """Every solution that the sources give for these definitions. sources: the folder of kits."""
    for name, kit in KITS.items():
        for definition in definitions.values():
            family = family_of(definition, kit.families)
            if family is None or (
                kit.language == "cuda" and not cuda_takes(family.stem, definition)
            ):
                continue
            yield pack(definition, name, family, sources)


def pack(definition: Definition, kit_name: str, family: Family, sources: Path) -> Solution:
    """One solution with all files that its entry names. Raises NotFound for a missing file."""
    kit = KITS[kit_name]
    entry = f"{family.stem}{kit.ending}"
    file, make = kit.constants
    files: dict[str, str] = {}
    wanted = [entry]
    while wanted:
        name = wanted.pop()
        if name in files:
            continue
        folder = kit.folder or kit_name
        files[name] = make(definition) if name == file else _text(sources, folder, name)
        said = kit.mention.findall(files[name])
        wanted += said if kit.compiled else [f"{word}.py" for word in said]
    split = {k: v if k == "release" else f"{entry}::{v}" for k, v in kit.prepare.items()}
    return Solution(
        name=f"{AUTHOR}_{kit_name}_{definition.name}",
        definition=definition.name,
        author=AUTHOR,
        spec=Spec(
            language=kit.language,
            target_hardware=kit.hardware,
            entry_point=f"{entry}::{family.symbol}",
            dependencies=[] if kit.compiled else ["torch"],
            binding="dlpack" if kit.compiled else None,
            destination_passing_style=kit.compiled,
            compile_options=kit.flags,
            treadle={"prepare": split} if split else None,
        ),
        sources=[Source(path=name, content=files[name]) for name in sorted(files)],
    )


def _text(sources: Path, folder: str, name: str) -> str:
    for one in (folder, "common"):
        path = sources / one / name
        if path.is_file():
            return path.read_text()
    raise NotFound(
        f"no source {name}", at=str(sources / folder), hint="see treadle.kernels.families"
    )
