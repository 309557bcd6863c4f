"""First words of a build's child process: limits, no new rights, no network, then the compiler.

Run as a script by path: `child.py SECONDS BYTES COMMAND...`. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys

_NO_NEW_PRIVS = 38
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_MAX_OUTPUT = 512 << 20


def main() -> None:
    """Never returns: becomes the command, or exits with 127."""
    seconds, size = int(sys.argv[1]), int(sys.argv[2])
    for what, limit in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, size),
        (resource.RLIMIT_FSIZE, _MAX_OUTPUT),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 1024),
    ):
        hard = resource.getrlimit(what)[1]
        top = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (top, top))
    os.umask(0o077)
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
        libc.unshare(_NEW_USER | _NEW_NET)  # where the kernel grants it
    try:
        os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606 - the builder chose the command
    except OSError as problem:
        print(f"error: {sys.argv[3]}: {problem}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    main()
