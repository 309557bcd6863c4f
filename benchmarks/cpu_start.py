"""A cold start: seconds to the first byte of the answer, processor time and peak memory.

`treadle run` and llama.cpp (node-llama-cpp, as in cpu_decode.py) take turns, each time as a fresh
process on the same file, which lies in the system's cache; llama.cpp reads a prompt of as many
tokens and answers with one. What treadle derives from a model is on disk after a first run that
does not count. Peaks are the system's count of resident pages, those of mapped files included; what
the interpreter and the libraries take alone is measured beside.

    python benchmarks/cpu_start.py [--model smollm2-135m|FILE.gguf] [--rounds 9] [--no-peer]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cpu_decode import HERE, PACKAGES, installed
from machine import machine, spread, versions, write

from treadle.models.sources import locate

PROMPT = "Say hi."
ROWS = 35  # tokens that the chat template makes of it
FLOOR = {  # what no start in Python can do without
    "interpreter": "",
    "numpy": "numpy",
    "tokenizers": "tokenizers",
    "all libraries": "numpy, msgspec, tokenizers, minijinja, treadle._core",
}


def start(command: list[str], question: bytes, lines: int) -> dict[str, float]:
    """Runs a process to its end: seconds to its first byte (or to the end of so many lines),
    seconds of processor time, peak megabytes."""
    # As after an installation: what is imported was compiled to bytecode by the run before.
    given = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    begin = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env=given,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(question)
    left = lines
    while byte := process.stdout.read(1):
        left -= byte == b"\n"
        if lines == 0 or left == 0:
            break
    first = time.perf_counter() - begin
    process.stdin.close()
    process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return {
        "first_byte_s": first,
        "whole_s": time.perf_counter() - begin,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss * 1024 / 1e6,
    }


def alone(libraries: str) -> int:
    """Peak bytes of an interpreter that imports so much and ends. It asks for its own, since what
    the system tells of a child begins with the peak of who started it."""
    code = f"import re, sys, {libraries or 'os'}\n"
    code += r"print(re.search(r'VmHWM:\s*(\d+)', open('/proc/self/status').read())[1])"
    command = [sys.executable, "-c", code]
    found = [subprocess.run(command, capture_output=True, check=True).stdout for _ in range(3)]
    return 1024 * min(map(int, found))


def main() -> None:
    """Measures and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--no-peer", action="store_true", help="treadle alone")
    parser.add_argument("--llama", type=Path, default=HERE.parent / "build" / "llama")
    parser.add_argument("--name", default="cpu_start", help="of the file in benchmarks/results")
    args = parser.parse_args()
    file = locate(args.model)
    threads = str(args.threads)
    ours = [sys.executable, "-m", "treadle", "run", PROMPT, "--model", args.model]
    ours += ["--max-tokens", "1", "--temperature", "0", "--threads", threads]
    engines: dict[str, tuple[list[str], bytes, int]] = {"treadle": (ours, b"", 0)}
    if not args.no_peer:
        folder = installed(args.llama.resolve())
        theirs = ["node", str(HERE / "llama_peer.mjs"), str(folder), str(file), threads]
        # Fewer than one token more than the first ends its answer with the first.
        asked = json.dumps({"prompt": ROWS, "tokens": 0.5}).encode() + b"\n"
        engines["llama.cpp"] = (theirs, asked, 2)
    for engine in engines.values():
        start(*engine)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
    for index in range(args.rounds):
        for name in list(engines) if index % 2 else list(engines)[::-1]:
            rows[name].append(start(*engines[name]))
    found = {
        name: {key: spread([row[key] for row in many], 3) for key in many[0]}
        for name, many in rows.items()
    }
    floor = {name: round(alone(libraries) / 1e6, 1) for name, libraries in FLOOR.items()}
    size = file.stat().st_size / 1e6
    figures: dict[str, Any] = {
        "what": f"cold start to the first token of an answer to {PROMPT!r}, {threads} threads",
        "model": args.model,
        "file_mb": round(size, 1),
        "goal": {"first_byte_s": 1.5, "peak_mb": round(1.25 * size, 1)},
        "engines": found,
        "peak_mb_of_libraries_alone": floor,
        "machine": machine(),
        "versions": {**versions("numpy", "tokenizers"), "llama.cpp": PACKAGES[0]},
        "load_average": round(os.getloadavg()[0], 2),
    }
    path = write(args.name, figures)
    for name, row in found.items():
        said = ", ".join(f"{key} {row[key]['median']}" for key in row)
        print(f"{path}: {name}: {said}")


if __name__ == "__main__":
    main()
