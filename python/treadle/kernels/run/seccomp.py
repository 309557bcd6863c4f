"""A filter on system calls for code that nobody trusts: no new process, no socket, no tracing.

Written as classic BPF over `struct seccomp_data` (linux/seccomp.h). A forbidden call traps, so that
the harness's handler can write down which one it was; code that replaces the handler dies of it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

_NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "fork": 57, "vfork": 58, "execve": 59, "execveat": 322, "ptrace": 101, "socket": 41,
        "socketpair": 53, "connect": 42, "bind": 49, "process_vm_readv": 310,
        "process_vm_writev": 311, "bpf": 321, "perf_event_open": 298, "unshare": 272, "setns": 308,
        "mount": 165, "pidfd_open": 434, "pidfd_getfd": 438, "pidfd_send_signal": 424,
        "io_uring_setup": 425, "userfaultfd": 323, "setsid": 112, "setpgid": 109, "kcmp": 312,
        "clone": 56, "clone3": 435, "kill": 62, "tgkill": 234, "tkill": 200,
    },
    "aarch64": {
        "execve": 221, "execveat": 281, "ptrace": 117, "socket": 198, "socketpair": 199,
        "connect": 203, "bind": 200, "process_vm_readv": 270, "process_vm_writev": 271, "bpf": 280,
        "perf_event_open": 241, "unshare": 97, "setns": 268, "mount": 40, "pidfd_open": 434,
        "pidfd_getfd": 438, "pidfd_send_signal": 424, "io_uring_setup": 425, "userfaultfd": 282,
        "setsid": 157, "setpgid": 154, "kcmp": 272, "clone": 220, "clone3": 435, "kill": 129,
        "tgkill": 131, "tkill": 130,
    },
}  # fmt: skip
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _EQUAL, _AT_LEAST, _SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _TRAP, _KILL, _ERRNO = 0x7FFF0000, 0x00030000, 0x80000000, 0x00050000
_ENOSYS = 38
_CLONE_THREAD = 0x10000
_X32 = 0x40000000
_SET_FILTER, _ALL_THREADS = 1, 1


def names() -> dict[int, str]:
    """System call numbers that the filter knows, on this machine."""
    return {number: name for name, number in _NUMBERS.get(platform.machine(), {}).items()}


_STARTING = {"fork", "vfork", "execve", "execveat", "clone", "clone3"}


def install(*, starting: bool = False) -> bool:
    """Filters all threads of this process from now on; needs no_new_privs. False: not possible.

    starting: other programs may be started, and are filtered too; leaving the session may not.
    """
    machine = platform.machine()
    if machine not in _NUMBERS:
        return False
    numbers = _NUMBERS[machine]
    if starting:
        numbers = {name: number for name, number in numbers.items() if name not in _STARTING}
    program = _program(numbers, _ARCHITECTURE[machine], os.getpid())
    data = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(data))
    libc = ctypes.CDLL(None, use_errno=True)
    call = 317 if machine == "x86_64" else 277
    given = ctypes.create_string_buffer(head, len(head))
    return libc.syscall(call, _SET_FILTER, _ALL_THREADS, given) == 0


def _program(numbers: dict[str, int], architecture: int, own: int) -> bytes:
    """Jumps count instructions to skip; the number is reloaded after each look at an argument."""
    out: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _TRAP),
    ]
    special = {"clone", "clone3", "kill", "tgkill", "tkill"}
    for name, number in numbers.items():
        if name not in special:
            out += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _TRAP)]
    if "clone" in numbers:
        # glibc falls back to clone, whose flags a filter can see.
        out += [(_EQUAL, 0, 1, numbers["clone3"]), (_RETURN, 0, 0, _ERRNO | _ENOSYS)]
        out += [
            (_EQUAL, 0, 4, numbers["clone"]),
            (_LOAD, 0, 0, 16),
            (_SET, 0, 1, _CLONE_THREAD),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _TRAP),
        ]
    for name in ("kill", "tgkill"):  # a signal to itself only
        out += [
            (_EQUAL, 0, 4, numbers[name]),
            (_LOAD, 0, 0, 16),
            (_EQUAL, 0, 1, own),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _TRAP),
        ]
    out += [(_EQUAL, 0, 1, numbers["tkill"]), (_RETURN, 0, 0, _TRAP)]
    out.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *line) for line in out)
