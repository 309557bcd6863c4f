"""Walls around untrusted code, as high as this kernel builds them; the level is recorded.

0 fresh process: limits, no new privileges, no core dumps, descriptors closed. 1 own user id.
2 own network, mount and IPC (and, without root, user) namespaces. 3 landlock: nothing but libraries
and its own folder can be opened. 4 before anything foreign is loaded: a filter on system calls. A
level counts only if all below it hold. Raw system calls through ctypes.
"""

from __future__ import annotations

import ctypes
import os
import resource
import stat
import struct
from collections.abc import Sequence
from pathlib import Path

from treadle.kernels.run import seccomp

NOBODY = 65534
FSIZE = 1 << 20
SCRATCH = 64 << 20
WRITABLE = ("/dev/nvidia", "/proc/self/task")
"""What a GPU's driver has to write to, where it is readable at all."""
_SET_DUMPABLE, _KEEP_CAPS, _NO_NEW_PRIVS, _DEATH_SIGNAL = 4, 8, 38, 1
_NEW_NS, _NEW_IPC, _NEW_USER, _NEW_NET = 0x20000, 0x08000000, 0x10000000, 0x40000000
_CREATE_RULESET, _ADD_RULE, _RESTRICT = 444, 445, 446
_NOSUID_NODEV, _PRIVATE = 2 | 4, (1 << 14) | (1 << 18)
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_CAP_DAC_READ_SEARCH = 2
_AMBIENT, _RAISE = 47, 2
_CAP_VERSION = 0x20080522


def enter(
    wanted: int,
    readable: Sequence[Path],
    memory: int,
    seconds: int,
    *,
    reserves: bool = False,
    scratch: Path | None = None,
) -> int:
    """Raises walls 0 to 3, before foreign code is loaded. Returns the level reached.

    readable: folders that stay open. memory: bytes of address space or, beside a driver that
    `reserves` far more of it than it uses, of private data; seconds: of processor time. scratch:
    a folder of its own to write in; with a mount namespace, a small one in memory.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _limits(resource.RLIMIT_DATA if reserves else resource.RLIMIT_AS, memory, seconds)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    level = 0
    spaces = wanted >= 2 and _unshare(libc)
    if scratch is not None and spaces and os.geteuid() == 0:
        _mount(libc, scratch)
    open_to_all = all(_open_to_all(path) for path in readable)
    walled = wanted >= 3 and _landlock(libc, readable, scratch)
    if wanted >= 1 and _own_user(libc, keep_reading=walled and not open_to_all, plain=open_to_all):
        level = 1
        if spaces:
            level = 3 if walled else 2
    libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_DEATH_SIGNAL, 9, 0, 0, 0)  # a change of user clears it, so it comes last
    return level


def lock(level: int, wanted: int) -> int:
    """Raises wall 4, before anything foreign is loaded. Returns the level reached."""
    return 4 if wanted >= 4 and seccomp.install() and level == 3 else level


def _limits(kind: int, memory: int, seconds: int) -> None:
    for what, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, FSIZE),
        (resource.RLIMIT_NOFILE, 256),
        (kind, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_NPROC, 256),
    ):
        hard = resource.getrlimit(what)[1]
        top = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        # At the hard limit of processor time comes SIGKILL, which would not say why.
        spare = 5 if what == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else 0
        resource.setrlimit(what, (top, top + spare))


def _unshare(libc: ctypes.CDLL) -> bool:
    plain = _NEW_NET | _NEW_NS | _NEW_IPC
    user = os.geteuid() != 0
    return libc.unshare(plain | (_NEW_USER if user else 0)) == 0


def _mount(libc: ctypes.CDLL, folder: Path) -> None:
    """A file system in memory that nobody else sees, bounded in bytes and files."""
    libc.mount(b"none", b"/", None, _PRIVATE, None)
    room = f"size={SCRATCH},nr_inodes=4096,mode=0700,uid={NOBODY},gid={NOBODY}".encode()
    libc.mount(b"treadle", str(folder).encode(), b"tmpfs", _NOSUID_NODEV, room)


def _own_user(libc: ctypes.CDLL, *, keep_reading: bool, plain: bool) -> bool:
    """Another user id. Without root the new user namespace stands for it: nothing outside can be
    traced from there. Where libraries are closed to others, one capability, to read, is kept: only
    behind landlock, which then decides what can be opened."""
    if os.geteuid() != 0:
        return True
    if not plain and not keep_reading:
        return False
    libc.prctl(_KEEP_CAPS, 1 if keep_reading else 0, 0, 0, 0)
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError:
        return False
    return _capabilities(libc, 1 << _CAP_DAC_READ_SEARCH if keep_reading else 0, 0)


def pass_reading() -> None:
    """What this process may read, programs that it starts may read too, behind the same walls."""
    libc = ctypes.CDLL(None, use_errno=True)
    mask = 1 << _CAP_DAC_READ_SEARCH
    if os.geteuid() == NOBODY and _capabilities(libc, mask, mask):
        libc.prctl(_AMBIENT, _RAISE, _CAP_DAC_READ_SEARCH, 0, 0)


def _capabilities(libc: ctypes.CDLL, mask: int, inherited: int) -> bool:
    head = ctypes.create_string_buffer(struct.pack("<Ii", _CAP_VERSION, 0))
    sets = ctypes.create_string_buffer(struct.pack("<6I", mask, mask, inherited, 0, 0, 0))
    call = 126 if os.uname().machine == "x86_64" else 91
    return libc.syscall(call, head, sets) == 0


def _landlock(libc: ctypes.CDLL, readable: Sequence[Path], scratch: Path | None) -> bool:
    """Files can be read and mapped below `readable` alone, and written in WRITABLE of it and in
    `scratch` alone."""
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    handled = _REFER - 1
    if version >= 2:
        handled |= _REFER
    if version >= 3:
        handled |= _TRUNCATE
    ruleset = ctypes.create_string_buffer(struct.pack("<Q", handled), 8)
    fence = libc.syscall(_CREATE_RULESET, ruleset, 8, 0)
    if fence < 0:
        return False
    good = True
    for path in (*readable, *([scratch] if scratch is not None else [])):
        try:
            folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        rights = _READ_FILE | _EXECUTE
        if str(path).startswith(WRITABLE):
            rights |= (_WRITE_FILE | _TRUNCATE) & handled
        if stat.S_ISDIR(os.fstat(folder).st_mode):
            rights |= _READ_DIR
        if path is scratch:
            rights = handled & ~_EXECUTE
        rule = ctypes.create_string_buffer(struct.pack("<Qi", rights, folder), 12)
        good = libc.syscall(_ADD_RULE, fence, 1, rule, 0) == 0 and good
        os.close(folder)
    good = good and libc.syscall(_RESTRICT, fence, 0) == 0
    os.close(fence)
    return good


def _open_to_all(path: Path) -> bool:
    """Whether any user may walk to a folder and read it."""
    try:
        path = path.resolve(strict=True)
        steps = (path, *path.parents)
        return all(step.stat().st_mode & (stat.S_IXOTH | stat.S_IROTH) for step in steps) and all(
            step.stat().st_mode & stat.S_IXOTH for step in path.parents
        )
    except OSError:
        return True  # what is not there needs no reading
