"""Compilers for a solution that compiles while it runs (Triton), behind the filter on system calls.

A solution's own process may start nothing. What its library would start, the C compiler and ptxas,
is asked of a process forked before the solution was loaded: it stands behind the same walls, cannot
leave the harness's session, starts two programs only, with flags from a list, on files of one small
folder. What comes out is code for the asking process, which runs its own code anyway.
"""

# Other packages' classes are replaced here; what strict mode cannot see is tested.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import ctypes
import importlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from treadle.kernels.run import sandbox, seccomp

SIZE = 8
MOST = 1 << 20
_DEATH_SIGNAL = 1
_REFUSED = 126
_C_FLAG = re.compile(
    r"-O[0-3]|-shared|-fPIC|-std=[\w+]+|-Wno-[\w-]+|-l:?[\w.+-]+|-[LI][\w./+ -]+", re.ASCII
)
_PTX_FLAG = re.compile(
    r"-v|-g|-lineinfo|-suppress-debug-info|--fmad=(?:true|false)|--gpu-name=sm_\w+"
    r"|--opt-level|[0-3]|-O[0-3]", re.ASCII
)  # fmt: skip


def environment(folder: str) -> dict[str, str]:
    """Where Triton keeps what it compiles, and where it finds the driver to link against."""
    found = {"TRITON_CACHE_DIR": f"{folder}/cache", "TMPDIR": folder, "HOME": folder}
    places = ("/usr/local/nvidia/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
              "/usr/lib64", "/usr/local/cuda/compat")  # fmt: skip
    for place in places:
        if Path(place, "libcuda.so.1").exists():
            return {**found, "TRITON_LIBCUDA_PATH": place}
    return found


_ready: dict[str, bytes] = {}
"""Files of Triton's own, no solution's, that `prepare` found it to compile in every process."""


def prepare() -> None:
    """Loads Triton where it is there, and computes what it would compute in every process."""
    try:
        cache = importlib.import_module("triton.runtime.cache")
    except ImportError:
        return
    key = getattr(cache, "triton_key", None)
    if key is None or _ready:
        return
    key()
    with tempfile.TemporaryDirectory() as folder:
        own = os.fork()
        if own == 0:
            try:
                os.environ.update(environment(folder))
                importlib.import_module("triton.backends.nvidia.driver").CudaUtils()
            finally:
                os._exit(0)
        os.waitpid(own, 0)
        base = Path(folder, "cache")
        for path in base.rglob("*"):
            if path.is_file():
                _ready[str(path.relative_to(base))] = path.read_bytes()


def _unpack(folder: Path) -> None:
    for name, data in _ready.items():
        path = folder / "cache" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def start(folder: Path) -> socket.socket:
    """Forks the compiling process and sends there what this one's `subprocess` starts.

    Call it behind the walls and before anything foreign is loaded; closing the socket ends it.
    """
    _unpack(folder)
    tempfile.tempdir = str(folder)
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        try:
            ours.close()
            _serve(theirs, folder)
        finally:
            os._exit(0)
    theirs.close()
    Asked.line = ours
    subprocess.Popen = Asked  # pyright: ignore[reportGeneralTypeIssues]
    return ours


class Asked:
    """What `subprocess.run`, `check_call` and `check_output` need of a `Popen`."""

    line: socket.socket
    _one = threading.Lock()

    def __init__(self, args: Any, *_: Any, **given: Any) -> None:
        self.args = args
        words = [args] if isinstance(args, str) else [os.fspath(word) for word in args]
        with self._one:
            _send(self.line, json.dumps(words).encode())
            status, out, err = json.loads(_receive(self.line))
        self.returncode, self.stdin, self.pid = int(status), None, 0
        self.stdout, self.stderr = None, None
        if given.get("stderr") is subprocess.STDOUT:
            out, err = out + err, ""
        self._out = self._put(given.get("stdout"), 1, out, given)
        self._err = self._put(given.get("stderr"), 2, err, given)

    @staticmethod
    def _put(where: Any, own: int, text: str, given: dict[str, Any]) -> Any:
        if where is subprocess.PIPE:
            plain = given.get("text") or given.get("universal_newlines") or given.get("encoding")
            return text if plain else text.encode()
        if where not in (subprocess.DEVNULL, subprocess.STDOUT):
            to = own if where is None else where
            os.write(to if isinstance(to, int) else to.fileno(), text.encode())
        return None

    def __class_getitem__(cls, _: Any) -> type[Asked]:
        return cls

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """What it printed."""
        del input, timeout
        return self._out, self._err

    def wait(self, timeout: float | None = None) -> int:
        """It has ended."""
        del timeout
        return self.returncode

    def poll(self) -> int:
        """It has ended."""
        return self.returncode

    def kill(self) -> None:
        """It has ended."""


def _serve(line: socket.socket, folder: Path) -> None:
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    sandbox.pass_reading()
    seccomp.install(starting=True)
    programs = _programs()
    nothing = os.open("/dev/null", os.O_RDONLY)  # which may not be written here
    plain = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TMPDIR": str(folder)}
    while raw := _receive(line):
        words = [str(word) for word in json.loads(raw)]
        if not allowed(words, programs, folder):
            _send(line, json.dumps([_REFUSED, "", f"{words[:1]} is not started here"]).encode())
            continue
        try:
            done = subprocess.run(  # noqa: S603 - from a list of programs and flags
                words, cwd=folder, env=plain, stdin=nothing, capture_output=True, check=False,

            )  # fmt: skip
        except OSError as problem:
            _send(line, json.dumps([_REFUSED, "", str(problem)]).encode())
            continue
        texts = [part.decode("utf-8", "replace")[-(MOST // 4) :] for part in
                 (done.stdout, done.stderr)]  # fmt: skip
        _send(line, json.dumps([done.returncode, *texts]).encode())


def _programs() -> dict[str, re.Pattern[str]]:
    """Path of each program that may start → what its flags look like."""
    found = {path: _C_FLAG for name in ("gcc", "cc", "clang") if (path := shutil.which(name))}
    spec = find_spec("triton")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        for path in Path(place, "backends", "nvidia", "bin").glob("ptxas*"):
            found[str(path)] = _PTX_FLAG
    return found


def allowed(words: Sequence[str], programs: dict[str, re.Pattern[str]], folder: Path) -> bool:
    """Whether a command is one of those that a compiling library needs."""
    if list(words) == ["/sbin/ldconfig", "-p"]:
        return True
    if not words or words[0] not in programs:
        return False
    if list(words[1:]) == ["--version"]:
        return True
    flags = programs[words[0]]
    for word in words[1:]:
        if word == "-o" or flags.fullmatch(word):
            continue
        path = Path(word)
        if not path.is_absolute() or ".." in path.parts or not path.is_relative_to(folder):
            return False
        if path.suffix not in (".c", ".cc", ".cpp", ".so", ".ptx", ".o"):
            return False
    return True


def _send(line: socket.socket, data: bytes) -> None:
    line.sendall(len(data).to_bytes(SIZE, "little") + data)


def _receive(line: socket.socket) -> bytes:
    """A message, or nothing where the other side is gone or sends too much."""
    size = int.from_bytes(line.recv(SIZE, socket.MSG_WAITALL), "little")
    if not 0 < size <= MOST:
        return b""
    return line.recv(size, socket.MSG_WAITALL)
