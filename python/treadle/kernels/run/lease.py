"""One lease a device: a lock on a file named by the device, exclusive also between users."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from treadle.errors import Timeout


@contextmanager
def lease(device: str, wait: float = 0.0, folder: Path | None = None) -> Generator[Path]:
    """Holds a device; the kernel gives it back if this process dies.

    device: its UUID, or `kind:model` of the one there is. Raises Timeout if another holds it
    beyond `wait` seconds, naming that process.
    """
    folder = folder or Path(tempfile.gettempdir()) / "treadle-leases"
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(PermissionError):
        folder.chmod(0o1777)
    path = folder / f"{hashlib.sha256(device.encode()).hexdigest()[:24]}.lock"
    mask = os.umask(0)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    finally:
        os.umask(mask)
    deadline = time.monotonic() + wait
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(handle, 64, 0).decode("ascii", "replace").strip()
                    raise Timeout(
                        f"{device} is in use by process {holder or 'unknown'}",
                        at=str(path), hint="wait for it, or choose another device",
                    ) from None  # fmt: skip
                time.sleep(0.05)
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield path
    finally:
        os.close(handle)
