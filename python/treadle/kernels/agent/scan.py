"""What a proposal's text reaches for, in words. It annotates; only the referee decides."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SIGNS: Mapping[str, re.Pattern[str]] = {
    name: re.compile(text, re.MULTILINE)
    for name, text in {
        "process": r"\b(fork|vfork|exec[lv]p?e?|posix_spawnp?|popen|system)\s*\(|\bsubprocess\b",
        "threads": r"\bstd::(j?thread|async)\b|\bpthread_create\b|import threading|#pragma omp par",
        "memory of others": r"/proc/|process_vm_|\bptrace\b|import gc\b|gc\.get_|_getframe|ctypes",
        "files": r"\bf?open\s*\(|\bifstream\b|\bofstream\b|np\.(load|save)\b",
        "network": r"\bsocket\b|\burllib\b|\brequests\b|#include <sys/socket",
        "clocks": r"\bperf_counter|\bmonotonic\b|std::chrono|clock_gettime|rdtsc",
        "state between calls": (
            r"^\s*static\s+(?!inline|const|constexpr)[^();]*[;=]|^\s*global\b|thread_local"
        ),
        "loading": r"\bdlopen\b|\b__import__\b|\bimportlib\b|\beval\s*\(|\bexec\s*\(",
        "streams": r"cudaStreamCreate|cuda\.Stream\b",
        "library call": r"\bcblas_|\bcublas|torch\.(matmul|nn\.functional)|np\.(matmul|dot|einsum)",
    }.items()
}  # fmt: skip


def scan(files: Mapping[str, str]) -> list[str]:
    """`sign: path line N` for each sign, its first place in each file."""
    found: list[str] = []
    for path, text in files.items():
        for name, pattern in _SIGNS.items():
            match = pattern.search(text)
            if match is not None:
                line = text.count("\n", 0, match.start() + len(match[0]) - len(match[0].lstrip()))
                found.append(f"{name}: {path} line {line + 1}")
    return found
