"""Where harnesses come from: a process that holds the libraries and forks a harness a request.

    python -S -m treadle.kernels.run.nursery DESCRIPTOR FOLDER

numpy, torch and Triton are imported once, in a process that never loads a solution and never opens
a device (a driver does not survive a fork). A harness is a grandchild that is let go of, so that
the referee, as reaper of its descendants, becomes its parent: it may stop it, wait for it, and sees
what it leaves behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from treadle.errors import KernelError

PLAIN, TORCH, TRITON = b"plain", b"torch", b"triton"
"""Libraries that a harness needs; each has those before it."""
_SUBREAPER, _DEATH_SIGNAL = 36, 1
_PID = 8
_FILES = 5


class Child:
    """A harness as its reaper sees it. `returncode`: as of `subprocess.Popen`, None while alive."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status if it has ended."""
        if self.returncode is None:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, seconds: float = 10.0) -> bool:
        """Waits until it has ended; whether it has."""
        end = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > end:
                return False
            time.sleep(0.0005)
        return True


class Nursery:
    """The referee's handle; the process starts when first asked, and again after it died."""

    def __init__(self, environment: dict[str, str], core: str) -> None:
        """core: where `_core` lies, which in an editable install is not beside the sources."""
        self._environment, self._core = environment, core
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    def fork(self, libraries: bytes, config: bytes, files: Sequence[int], log: int) -> Child:
        """A new harness. files: control, inputs, outputs. Raises KernelError where none comes."""
        with open(os.memfd_create("treadle-config"), "w+b", 0) as text:
            text.write(config)
            text.seek(0)
            for _ in range(2):
                line = self._open()
                try:
                    socket.send_fds(line, [libraries], [text.fileno(), *files, log])
                    told = line.recv(_PID, socket.MSG_WAITALL)
                except OSError:
                    told = b""
                if len(told) == _PID:
                    return Child(int.from_bytes(told, "little"))
                self.close()
        raise KernelError(
            "no harness could be started", at="run", hint="see treadle kernels doctor, free memory"
        )

    def close(self) -> None:
        """Ends the process; harnesses that it forked live on."""
        if self._line is not None:
            self._line.close()
            self._line = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _open(self) -> socket.socket:
        if self._line is None:
            ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
            self._line, theirs = socket.socketpair()
            self._process = subprocess.Popen(  # noqa: S603 - no shell; the command is ours
                [sys.executable, "-S", "-m", "treadle.kernels.run.nursery", str(theirs.fileno()),
                 self._core],
                stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=self._environment,
                cwd="/", start_new_session=True,
            )  # fmt: skip
            theirs.close()
        return self._line


def main(line: socket.socket, core: str) -> None:
    """Forks until the referee hangs up."""
    import treadle

    if core not in treadle.__path__:
        treadle.__path__.append(core)
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    from treadle.kernels.run import harness

    harness.prepare()
    while True:
        wanted, files, _, _ = socket.recv_fds(line, 16, _FILES)
        if not wanted:
            return
        _import(wanted)
        line.sendall(_born(line, files, harness.begin).to_bytes(_PID, "little"))
        for file in files:
            os.close(file)


def _import(libraries: bytes) -> None:
    if libraries != PLAIN:
        import torch

        assert torch
    if libraries == TRITON:
        from treadle.kernels.run import compilers

        compilers.prepare()


def _born(line: socket.socket, files: list[int], begin: Callable[..., Any]) -> int:
    """The process id of a harness whose next parent is the reaper."""
    out, into = os.pipe()
    between = os.fork()
    if between == 0:
        parent = os.getpid()
        if os.fork():
            os._exit(0)
        os.setsid()
        os.write(into, os.getpid().to_bytes(_PID, "little"))
        for mine in (out, into, line.fileno()):
            os.close(mine)
        while os.getppid() == parent:  # a signal at a parent's death must mean the reaper's
            select.select([], [], [], 0.0002)
        _become(files, begin)
    os.close(into)
    pid = int.from_bytes(os.read(out, _PID), "little")
    os.close(out)
    os.waitpid(between, 0)
    return pid


def _become(files: list[int], begin: Callable[..., Any]) -> None:
    """Runs a harness and never returns. files: configuration, its three memories, the log."""
    status = 70
    try:
        config, *memories, log = files
        with open(config, "rb") as text:
            raw = text.read()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        begin(raw, tuple(memories))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
