"""Runs a compiler in a child: one folder, few variables, limits of time, memory and log."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SECONDS = 300
BYTES = 4 << 30
MAX_LOG = 64 << 10
_HALF = MAX_LOG // 2 - 64
_CHILD = Path(__file__).with_name("child.py")
_CUT = b"\n... %d bytes left out ...\n"


class Said(NamedTuple):
    """Exit status of a command and its capped log; `timed_out` if it was killed."""

    status: int
    log: str
    timed_out: bool


def run(command: Sequence[str], folder: Path, *, seconds: float = SECONDS) -> Said:
    """Runs `command` (an absolute path first) in `folder`; stdout and stderr make one log.

    Processor time is limited below wall time, so that only a starved machine meets the latter.
    """
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    child = [
        sys.executable,
        "-I",
        "-S",
        str(_CHILD),
        str(max(1, int(0.9 * seconds))),
        str(BYTES),
        *command,
    ]
    process = subprocess.Popen(  # noqa: S603 - no shell; sources never choose the command
        child,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    log = _Log()
    deadline = time.monotonic() + seconds
    timed_out = not _drain(process.stdout.fileno(), log, deadline)
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        timed_out = True
    finally:  # the whole group: a compiler leaves no helpers behind
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()
    return Said(process.returncode, log.text(folder), timed_out)


class _Log:
    """The first and the last half of MAX_LOG bytes, with a word on what is left out between."""

    def __init__(self) -> None:
        self._head, self._tail, self._left_out = b"", b"", 0

    def add(self, data: bytes) -> None:
        room = _HALF - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        extra = len(self._tail) - _HALF
        if extra > 0:
            self._tail = self._tail[extra:]
            self._left_out += extra

    def text(self, folder: Path) -> str:
        cut = _CUT % self._left_out if self._left_out else b""
        whole = (self._head + cut + self._tail).decode("utf-8", "replace")
        return whole.replace(f"{folder}/", "").replace(str(folder), ".")


def _drain(handle: int, log: _Log, deadline: float) -> bool:
    """Reads until the other end is closed; False at the deadline."""
    with selectors.DefaultSelector() as selector:
        selector.register(handle, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if selector.select(min(left, 1.0)):
                data = os.read(handle, 1 << 16)
                if not data:
                    return True
                log.add(data)
