"""What the processor counts while a harness answers, through perf_event_open(2).

Kernels and virtual machines grant some counters, all or none; whatever is not granted is named with
the reason. Counts of one's own code only (no kernel, no hypervisor), so that `perf_event_paranoid`
2 suffices.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct

from treadle.kernels.run import seccomp

_HARDWARE, _SOFTWARE = 0, 1
EVENTS = {
    "instructions": (_HARDWARE, 1), "cycles": (_HARDWARE, 0), "cache_references": (_HARDWARE, 2),
    "cache_misses": (_HARDWARE, 3), "branch_misses": (_HARDWARE, 5), "page_faults": (_SOFTWARE, 2),
}  # fmt: skip
"""Name → type and number of perf_event_attr."""
_SIZE = 112
_INHERIT, _NO_KERNEL, _NO_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6
_TIMES = 0b11
_CLOSE_ON_EXEC = 8
_REASONS = {
    errno.ENOENT: "this machine has none", errno.ENODEV: "this machine has none",
    errno.EOPNOTSUPP: "this machine has none", errno.ENOSYS: "this kernel has none",
    errno.EACCES: "not permitted", errno.EPERM: "not permitted",
}  # fmt: skip
MAX_THREADS = 64


class Counters:
    """Of all threads of a process, those to come included. `absent`: name → why."""

    def __init__(self, pid: int) -> None:
        self.absent: dict[str, str] = {}
        self._open: dict[str, list[int]] = {}
        self._begun: dict[str, float] = {}
        self._counted: dict[str, list[float]] = {}
        tasks = [pid]
        with contextlib.suppress(OSError):
            tasks = sorted(int(one) for one in os.listdir(f"/proc/{pid}/task"))[:MAX_THREADS]
        for name, (kind, event) in EVENTS.items():
            files: list[int] = []
            try:
                for task in tasks:
                    files.append(_event(kind, event, task))
            except OSError as problem:
                number = problem.errno or 0
                self.absent[name] = _REASONS.get(number, os.strerror(number))
                _close(files)
                continue
            self._open[name] = files

    def begin(self) -> None:
        """Counts from here."""
        self._begun = self._read()

    def end(self) -> None:
        """Keeps what was counted since `begin`."""
        for name, value in self._read().items():
            self._counted.setdefault(name, []).append(value - self._begun.get(name, 0.0))

    def medians(self) -> dict[str, float]:
        """Of what was kept, by name."""
        found = {name: sorted(values) for name, values in self._counted.items()}
        return {name: max(0.0, values[len(values) // 2]) for name, values in found.items()}

    def close(self) -> None:
        """Gives the counters back."""
        for files in self._open.values():
            _close(files)
        self._open = {}

    def _read(self) -> dict[str, float]:
        """Sums over threads. A counter that had to share the hardware is scaled to all its time."""
        found: dict[str, float] = {}
        for name, files in self._open.items():
            total = 0.0
            for file in files:
                value, enabled, running = struct.unpack("<QQQ", os.read(file, 24))
                total += value * (enabled / running if running else 1.0)
            found[name] = total
        return found


def _event(kind: int, number: int, task: int) -> int:
    """A descriptor that counts one thread. Raises OSError."""
    attributes = bytearray(_SIZE)
    struct.pack_into("<IIQ", attributes, 0, kind, _SIZE, number)
    struct.pack_into("<QQ", attributes, 32, _TIMES, _INHERIT | _NO_KERNEL | _NO_HYPERVISOR)
    call = next((n for n, name in seccomp.names().items() if name == "perf_event_open"), -1)
    libc = ctypes.CDLL(None, use_errno=True)
    text = (ctypes.c_char * _SIZE).from_buffer(attributes)
    # task, any processor, no group
    file = int(libc.syscall(ctypes.c_long(call), text, task, -1, -1, _CLOSE_ON_EXEC))
    if file < 0:
        raise OSError(ctypes.get_errno(), "perf_event_open")
    return file


def _close(files: list[int]) -> None:
    for file in files:
        with contextlib.suppress(OSError):
            os.close(file)
