"""What `ptxas -v` says of each kernel: registers, spills, memory. Read, never trusted."""

from __future__ import annotations

import re

import msgspec

MAX_KERNELS, MAX_NAME = 16, 120
_ENTRY = re.compile(r"Compiling entry function '([\w$.]+)' for '(\w+)'")
_OF = re.compile(r"Function properties for ([\w$.]+)")
_FRAME = re.compile(
    r"(\d{1,9}) bytes stack frame, (\d{1,9}) bytes spill stores, (\d{1,9}) bytes spill loads"
)
_USED = re.compile(r"Used (\d{1,4}) registers")
_SHARED = re.compile(r"(\d{1,9}) bytes smem")


class KernelUse(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Of one kernel on one architecture: registers a thread, bytes of stack, spill stores and loads
    a thread, bytes of static shared memory a block. name: as the linker knows it."""

    name: str
    arch: str
    registers: int = 0
    stack: int = 0
    spill_stores: int = 0
    spill_loads: int = 0
    shared: int = 0


def used(log: str) -> list[KernelUse]:
    """Kernels in the order of the log, at most 16."""
    found: list[KernelUse] = []
    entry: KernelUse | None = None
    inside = False  # of the entry's own properties, not of a function that it calls
    for line in log.splitlines():
        if match := _ENTRY.search(line):
            if len(found) == MAX_KERNELS:
                break
            entry = KernelUse(name=match[1][:MAX_NAME], arch=match[2][:MAX_NAME])
            found.append(entry)
        elif match := _OF.search(line):
            inside = entry is not None and match[1][:MAX_NAME] == entry.name
        elif entry is None:
            continue
        elif inside and (match := _FRAME.search(line)):
            entry.stack, entry.spill_stores, entry.spill_loads = map(int, match.groups())
        elif match := _USED.search(line):
            shared = _SHARED.search(line)
            entry.registers, entry.shared = int(match[1]), int(shared[1]) if shared else 0
            entry = None
    return found
