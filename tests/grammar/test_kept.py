"""Masks that outlive a process: the same answers, and no harm from any bytes in the file."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Each process digests by a key of its own, so whatever recalls needs one that has not begun.
CHILD = """
import hashlib, json, random, sys
sys.path.insert(0, {tests!r})
import vocabularies
from treadle.grammar import Compiler, Grammar, Vocab, mask_rows
folder, task = sys.argv[1:]
vocab = Vocab(vocabularies.small())
compiler = Compiler(vocab, masks=folder)
digest = hashlib.sha256()
schema = {{"properties": {{"a": {{"type": "string", "pattern": "^[a-f]+x?$"}}, "b": {{}}}}}}
for grammar in (Grammar.json_schema(schema), Grammar.regex("([ab]c|d)*"), Grammar.json()):
    rng, rows = random.Random(7), mask_rows(1, vocab.size)
    matcher = compiler.compile(grammar).matcher()
    for _ in range(40):
        matcher.fill(rows, 0)
        bits = bytes(memoryview(rows))
        digest.update(bits)
        legal = [t for t in range(vocab.size) if bits[t // 8] >> (t % 8) & 1]
        if not legal or not matcher.accept(rng.choice(legal)):
            break
size = compiler.save(int(task)) if task != "read" else 0
print(json.dumps([compiler.recalled, size, digest.hexdigest()]))
"""


def run(folder: Path, task: str = "read") -> list[Any]:
    code = CHILD.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), task], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any], list[Any]]:
    folder = tmp_path_factory.mktemp("masks") / "new"
    return folder, run(folder, str(1 << 20)), run(folder)


def file_of(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_the_next_process_gives_the_same_masks(kept: Any) -> None:
    folder, first, second = kept
    assert first[0] == 0
    assert first[1] == file_of(folder).stat().st_size
    assert second[0] > 5
    assert second[2] == first[2]


def test_the_bound_is_kept_and_what_was_recalled_is_saved_again(kept: Any, tmp_path: Path) -> None:
    folder, first, second = kept
    data = file_of(folder).read_bytes()
    for most in (len(data) // 2, 300):
        (tmp_path / file_of(folder).name).write_bytes(data)
        size = run(tmp_path, str(most))[1]
        assert 0 < size <= most
        again = run(tmp_path)
        assert again[0] < second[0]
        assert again[2] == first[2]
    (tmp_path / file_of(folder).name).write_bytes(data)
    assert run(tmp_path, str(1 << 20))[1] >= len(data)


def test_damaged_and_foreign_files_change_nothing(kept: Any, tmp_path: Path) -> None:
    """Recalling in one process is enough: the key of the digests is the file's, every time."""
    folder, first, _ = kept
    data = file_of(folder).read_bytes()
    path = tmp_path / file_of(folder).name
    rng = random.Random(3)
    damaged = [b"", b"treadle masks 1\n", data[: len(data) // 2], data[1:], data * 2, b"\xff" * 99]
    for _ in range(6):
        bytes_ = bytearray(data)
        for _ in range(rng.randrange(1, 40)):
            bytes_[rng.randrange(len(bytes_))] = rng.randrange(256)
        damaged.append(bytes(bytes_))
    for each in damaged:
        path.write_bytes(each)
        assert run(tmp_path)[2] == first[2]
    path.write_bytes(data)
    path.chmod(0o666)  # anybody might have written it
    assert run(tmp_path)[0] == 0
    path.chmod(0o600)
    assert run(tmp_path)[0] > 5
    path.rename(tmp_path / "other")
    path.symlink_to(tmp_path / "other")
    assert run(tmp_path)[0] == 0
    if os.getuid() == 0:
        path.unlink()
        (tmp_path / "other").rename(path)
        os.chown(path, 12345, -1)
        assert run(tmp_path)[0] == 0
