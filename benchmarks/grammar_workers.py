"""Worker processes of the grammar benchmarks: one an engine, restarted after a failure."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("grammar_worker.py")
START_SECONDS = 300.0
WAIT = 8.0  # wall seconds a CPU second of the limit: a busy machine is not a slow engine
TICK = os.sysconf("SC_CLK_TCK")
QUIET = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}


class Worker:
    """One engine's process. `ask` gives a job's answer, or how it failed."""

    def __init__(self, engine: str, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.restarts = -1
        self._core: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    def _start(self) -> None:
        self.restarts += 1
        self._rest = b""
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), self.engine, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **QUIET},
        )
        self._ready = selectors.DefaultSelector()
        assert self._process.stdout is not None
        self._ready.register(self._process.stdout, selectors.EVENT_READ)
        first = self._line(START_SECONDS)
        if not first:
            self.stop()
            raise SystemExit(
                f"the worker of {self.engine} did not start; run `python {SCRIPT.name} "
                f"{self.engine} {self.folder}` to see why"
            )
        if self.restarts == 0:
            self.hello = first

    def ask(self, job: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The answer, or {"timeout": phase} or {"crash": how}. Never raises for the engine's sake.

        `seconds` of the process's CPU time, all threads together; WAIT times as much on the wall.
        """
        if self._process is None:
            self._start()
            if self._core is not None:
                self.pin(self._core)
        assert self._process is not None
        assert self._process.stdin is not None
        phase = "compile"
        until, spent = time.monotonic() + WAIT * seconds, self._spent() + seconds
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the next read tells
        while True:
            message = self._line(until - time.monotonic(), spent)
            if message is None:
                self.stop()
                return {"timeout": phase}
            if not message:
                code = self._process.wait()
                self.stop()
                return {"crash": f"exit {code} in {phase}"}
            if "phase" not in message:
                return message
            phase = message["phase"]

    def pin(self, core: int) -> None:
        """Keeps the process, with its next start too, on one core."""
        self._core = core
        if self._process is not None:
            os.sched_setaffinity(self._process.pid, {core})

    def _spent(self) -> float:
        """CPU seconds of the process so far. Source: proc(5), fields 14 and 15 of stat."""
        assert self._process is not None
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def _line(self, seconds: float, spent: float = float("inf")) -> dict[str, Any] | None:
        """The next message; None when time is up (wall or CPU), {} when the process ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        until = time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = until - time.monotonic()
            if left <= 0 or self._spent() > spent:
                return None
            if not self._ready.select(min(left, 0.1)):
                continue
            part = os.read(self._process.stdout.fileno(), 1 << 20)
            if not part:
                return {}
            self._rest += part
        line, self._rest = self._rest.split(b"\n", 1)
        return json.loads(line)

    def stop(self) -> None:
        """Ends the process; the next job starts another."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._ready.close()
            self._process = None
