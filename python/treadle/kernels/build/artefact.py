"""What a build leaves behind: a folder of files with their hashes, or a failure with its log."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import uuid
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from treadle.errors import KernelError
from treadle.kernels.build.ptxas import KernelUse
from treadle.kernels.schema import Preparation

Binding: TypeAlias = Literal["python", "torch", "tvm-ffi", "dlpack", "wgsl"]
RECORD = "artefact.json"
FAILURE = "failure.json"
MAX_FILE = 512 << 20


class BuildFailure(KernelError):
    """A solution did not build. `log` is what the compiler said, at most 64 KiB, head and tail.

    `stage`: `toolchain` (nothing here builds that language), `check` (a flag, path or entry that is
    refused), `compile` (cached), `timeout`.
    """

    def __init__(self, log: str, stage: str, *, at: str | None = None) -> None:
        first = next((line for line in log.splitlines() if "error" in line.lower()), "")
        head = (first or log.strip().partition("\n")[0])[:200]
        super().__init__(f"build failed ({stage}): {head}", at=at, hint="the log says more")
        self.log = log
        self.stage = stage


class Artefact(msgspec.Struct, frozen=True, kw_only=True):
    """A built solution. The folder is complete when it exists and never changes afterwards.

    entry: file below the folder, a module or shared object; symbol: the name in it. files: path
    below the folder → SHA-256. kernels: what the GPU's assembler said of each. prepare: how weights
    are prepared, its entries below the folder as `entry` is.
    `Artefact.at(folder)` reads one back in another process.
    """

    folder: Path
    entry: str
    symbol: str
    binding: Binding
    destination_passing: bool
    key: str
    files: dict[str, str]
    kernels: list[KernelUse] = []
    prepare: Preparation | None = None

    @classmethod
    def at(cls, folder: Path) -> Artefact:
        """The artefact of a folder, verified. Raises KernelError if a byte of it has changed."""
        try:
            raw: Any = msgspec.json.decode(_content(folder / RECORD))
            one = msgspec.convert({**raw, "folder": folder}, cls)
        except (OSError, msgspec.MsgspecError, TypeError) as problem:
            raise KernelError(
                f"no artefact: {problem}", at=folder.name, hint="build it again"
            ) from None
        one.verify()
        return one

    def verify(self) -> None:
        """Raises KernelError for a file that is missing, changed, a link, or not in the record."""
        found = {p for p in _walk(self.folder) if p != RECORD}
        odd = sorted(found ^ set(self.files))
        if odd:
            raise KernelError(f"files {odd[:3]} do not match", at=self.folder.name, hint="rebuild")
        for name, digest in self.files.items():
            try:
                actual = hashlib.sha256(_content(self.folder / name)).hexdigest()
            except OSError as problem:
                actual = str(problem)
            if actual != digest:
                raise KernelError(
                    f"{name} is not what was built", at=self.folder.name, hint="rebuild"
                )


class Cache:
    """Artefacts and failures by key. Folders are made under another name and renamed whole."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, key: str) -> Artefact | None:
        """What lies under a key; a damaged folder is dropped. Raises BuildFailure if that is it."""
        folder = self._root / key[:2] / key
        if not folder.is_dir() or folder.is_symlink():
            return None
        try:
            if (folder / FAILURE).exists():
                said: Any = msgspec.json.decode(_content(folder / FAILURE))
                raise BuildFailure(str(said["log"]), str(said["stage"]), at=said["at"])
            return Artefact.at(folder)
        except (msgspec.MsgspecError, KeyError, OSError):
            pass
        except BuildFailure:
            raise
        except KernelError:
            pass
        shutil.rmtree(folder, ignore_errors=True)
        return None

    def room(self) -> Path:
        """An empty folder to build in, on the same file system."""
        folder = self._root / "tmp" / uuid.uuid4().hex
        folder.mkdir(parents=True, mode=0o700)
        return folder

    def keep(self, room: Path, made: Artefact) -> Artefact:
        """Seals a room: hashes, record, rename. Two builders of one key leave one folder."""
        files = {n: hashlib.sha256(_content(room / n)).hexdigest() for n in sorted(_walk(room))}
        sealed = msgspec.structs.replace(made, files=files)
        record = {k: v for k, v in msgspec.structs.asdict(sealed).items() if k != "folder"}
        (room / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record)))
        # Not `sealed`: compilers need not write the same bytes twice, and another may be first.
        return Artefact.at(self._move(room, made.key))

    def keep_failure(self, room: Path, key: str, failure: BuildFailure) -> None:
        """Remembers that these sources do not build."""
        shutil.rmtree(room, ignore_errors=True)
        room.mkdir(mode=0o700)
        said = {"stage": failure.stage, "log": failure.log, "at": failure.at}
        (room / FAILURE).write_bytes(msgspec.json.encode(said))
        self._move(room, key)

    def _move(self, room: Path, key: str) -> Path:
        folder = self._root / key[:2] / key
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            room.rename(folder)
        except OSError:  # another builder was first; what it made is the same
            shutil.rmtree(room, ignore_errors=True)
            if not folder.is_dir():
                raise
        return folder


def _walk(folder: Path) -> list[str]:
    found: list[str] = []
    for base, folders, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(base, n), folder) for n in names]
        links = [n for n in folders if os.path.islink(os.path.join(base, n))]
        found += [os.path.relpath(os.path.join(base, n), folder) for n in links]
    return found


def _content(path: Path) -> bytes:
    """A regular file's bytes, never through a link."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_size > MAX_FILE:
            raise OSError(f"{path.name} is no regular file, or too large")
        return file.read()
