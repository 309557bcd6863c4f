"""`build`: checks before the first write, one child process, then a sealed folder or a failure."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import msgspec

from treadle.errors import InvalidRequest
from treadle.kernels.build import confined
from treadle.kernels.build.artefact import Artefact, BuildFailure, Cache
from treadle.kernels.build.flags import checked
from treadle.kernels.build.ptxas import used
from treadle.kernels.build.shader import CALL, call_of
from treadle.kernels.build.shader_child import NO_ADAPTER
from treadle.kernels.build.toolchain import Recipe, recipe
from treadle.kernels.schema import (
    Definition,
    Solution,
    check_solution,
    preparation,
    weights,
)
from treadle.kernels.schema.rules import check_path

SOURCES = "src"
VERSION = 1
"""Raised when what a build does changes, so that older artefacts are not found."""
MAX_SOURCES, MAX_BYTES = 256, 16 << 20

_ENDINGS = {
    "python": (".py",), "triton": (".py",), "tilelang": (".py",), "cutedsl": (".py",),
    "cutile": (".py",), "cpp": (".cc", ".cpp", ".cxx"), "cuda": (".cu",), "cutlass": (".cu",),
    "wgsl": (".wgsl",),
}  # fmt: skip
_INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">\n]+)[">]', re.MULTILINE)


def build(solution: Solution, definition: Definition, *, device: str, cache: Path) -> Artefact:
    """Builds a solution, or finds what was built before. Nothing of it runs in this process.

    device: `kind:model`, which decides the target of CUDA sources that name none. cache: a folder
    that only builders write. Raises BuildFailure with log and stage, as it did the first time; a
    missing toolchain and a time-out are not remembered, since another day they may not be met.
    """
    _check(solution, definition)
    how = recipe(solution, checked(solution), device)
    beside = _beside(solution, definition) if how.binding == "wgsl" else b""
    key = _key(solution, how, beside)
    store = Cache(cache)
    found = store.find(key)
    if found is not None:
        return found
    room = store.room()
    try:
        made = _make(solution, how, room, key)
        if beside:
            (room / SOURCES / CALL).write_bytes(beside)
        return store.keep(room, made)
    except BuildFailure as failure:
        if failure.stage not in ("timeout", "toolchain"):  # the machine's fault, or maybe
            store.keep_failure(room, key, failure)
        raise
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _beside(solution: Solution, definition: Definition) -> bytes:
    try:
        return call_of(solution, definition)
    except InvalidRequest as problem:
        raise BuildFailure(str(problem), "check", at=f"solution {solution.name!r}") from None


def _key(solution: Solution, how: Recipe, beside: bytes) -> str:
    """What a build depends on. Not the definition, so that equal sources are built once, but where
    a file `beside` them comes of it."""
    sources = sorted((str(check_path(s.path, solution.name)), s.content) for s in solution.sources)
    spec = msgspec.to_builtins(solution.spec)
    depends = [*how.depends, beside.decode()] if beside else how.depends
    words = msgspec.json.encode([VERSION, spec, sources, depends], order="sorted")
    return hashlib.sha256(words).hexdigest()


def _check(solution: Solution, definition: Definition) -> None:
    """Refuses what must not reach a disk. Raises BuildFailure (`check`)."""
    at = f"solution {solution.name!r}"
    try:
        check_solution(solution)
    except InvalidRequest as problem:
        raise BuildFailure(str(problem), "check", at=at) from None
    if solution.definition != definition.name:
        raise BuildFailure(
            f"it solves {solution.definition}, not {definition.name}", "check", at=at
        )
    if preparation(solution) is not None and not weights(definition):
        raise BuildFailure(f"{definition.name} has no weights to prepare", "check", at=at)
    total = sum(len(source.content) for source in solution.sources)
    if len(solution.sources) > MAX_SOURCES or total > MAX_BYTES:
        raise BuildFailure(f"{len(solution.sources)} sources of {total} bytes", "check", at=at)
    endings = _ENDINGS.get(solution.spec.language)
    file = solution.spec.entry_point.partition("::")[0]
    if endings is not None and not file.endswith(endings):
        raise BuildFailure(f"entry {file!r} does not end in {' or '.join(endings)}", "check", at=at)
    for source in solution.sources:
        path = check_path(source.path, at)
        if any(not re.fullmatch(r"[A-Za-z0-9_+][\w.+-]*", part, re.ASCII) for part in path.parts):
            raise BuildFailure(f"path {source.path!r} has odd characters", "check", at=at)
        if solution.spec.language in ("cpp", "cuda", "cutlass"):
            for name in _INCLUDE.findall(source.content):
                if name.startswith("/") or ".." in name.split("/"):
                    raise BuildFailure(f"{path} includes {name!r}", "check", at=at)


def _make(solution: Solution, how: Recipe, room: Path, key: str) -> Artefact:
    for source in solution.sources:
        path = room / SOURCES / check_path(source.path, solution.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(source.content)
    file, _, symbol = solution.spec.entry_point.partition("::")
    entry = f"{SOURCES}/{check_path(file, solution.name)}"
    split = preparation(solution)
    if split is not None:  # what is compiled lies all in one library
        entries = (split.entry, split.run)
        placed = [
            f"{how.produces}::{e.partition('::')[2]}" if how.produces else f"{SOURCES}/{e}"
            for e in entries
        ]
        split = msgspec.structs.replace(split, entry=placed[0], run=placed[1])
    command = list(how.command)
    if how.produces:
        command += ["-o", how.produces, entry, *how.tail]
    elif how.binding == "wgsl":
        command.append(entry)
    else:
        command += [f"{SOURCES}/{s.path}" for s in solution.sources if s.path.endswith(".py")]
    said = confined.run(command, room)
    at = f"solution {solution.name!r}"
    if said.timed_out:
        raise BuildFailure(f"no end after {confined.SECONDS} s\n{said.log}", "timeout", at=at)
    if how.binding == "wgsl" and said.status == NO_ADAPTER:
        raise BuildFailure("no WebGPU adapter on this machine", "toolchain", at=at)
    if said.status != 0 or (how.produces and not (room / how.produces).is_file()):
        raise BuildFailure(said.log or f"exit status {said.status}", "compile", at=at)
    _tidy(room, how)
    return Artefact(
        folder=room,
        entry=how.produces or entry,
        symbol=symbol,
        binding=how.binding,
        destination_passing=solution.spec.destination_passing_style,
        key=key,
        files={},
        kernels=used(said.log),
        prepare=split,
    )


def _tidy(room: Path, how: Recipe) -> None:
    """Removes what a compiler left beside sources and product."""
    for path in room.iterdir():
        if path.name in (SOURCES, how.produces):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
