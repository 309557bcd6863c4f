"""One harness as the referee sees it: started, told batches, stopped, timed, killed.

Between batches its whole process group is stopped, so that inputs are not seen before they are
revealed and no work goes on after the clock stopped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from treadle import _core
from treadle.errors import KernelError
from treadle.kernels.run import layout, ring, sandbox, seccomp
from treadle.kernels.run.counters import Counters
from treadle.kernels.run.device import Ring
from treadle.kernels.run.harness import Config
from treadle.kernels.run.layout import Operand, What, Word
from treadle.kernels.run.nursery import PLAIN, TORCH, TRITON, Child, Nursery
from treadle.kernels.run.refusal import Refused, of_call, of_state

SLICE_NS = 100_000_000
_INPUT_WRITTEN, _ADDRESS, _SYSTEM_CALL, _ARITHMETIC = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds of each phase, bytes of a harness beyond its rings."""

    load: float = 120.0
    first: float = 60.0
    batch: float = 10.0
    memory: int = 16 << 30
    processor: int = 900


class Timing(NamedTuple):
    """Nanoseconds of a batch.

    elapsed: what counts: from revealing the inputs to seeing the answer, and the processor time
    that the process took between its answer and its stop (`late`), which an honest one has no use
    for. stopping: from the answer until the process was seen stopped. waited: how long referee and
    harness were ready to run but had no processor.
    """

    elapsed: int
    late: int
    stopping: int
    waited: int


class Player:
    """A candidate or a baseline in its own process. `level` is the isolation reached."""

    def __init__(self, config: Config, outputs: Ring, limits: Limits, nursery: Nursery) -> None:
        self._config, self._limits, self._nursery = config, limits, nursery
        self.outputs = outputs
        self._control = ring.control()
        self._words = _core.Words(self._control.bytes[: layout.TEXT])
        self._page = memoryview(self._control.bytes)  # pyright: ignore[reportArgumentType]
        self._log: IO[bytes] | None = None
        self._process: Child | None = None
        self._scratch: Path | None = None
        self._plans = self._calls = 0
        self._stopped = False
        self.level = 0
        self.counters: Counters | None = None

    def start(self, inputs: Ring, readable: Sequence[Path], *, compiles: bool = False) -> None:
        """Forks the harness and waits until it has loaded. Raises Refused.

        compiles: the solution's library compiles while it runs, and gets a folder to do it in.
        """
        shared = [self._control.share(), inputs.share(), self.outputs.share()]
        if compiles:
            self._scratch = Path(tempfile.mkdtemp(prefix="treadle-scratch-"))
            if os.geteuid() == 0:
                os.chown(self._scratch, sandbox.NOBODY, sandbox.NOBODY)
        config = msgspec.structs.replace(
            self._config, readable=[str(p) for p in readable], scratch=str(self._scratch or "")
        )
        self._log = os.fdopen(os.memfd_create("treadle-log"), "w+b")
        needed = TRITON if compiles else TORCH if config.array == "torch" else PLAIN
        try:
            self._process = self._nursery.fork(
                needed, msgspec.json.encode(config), shared, self._log.fileno()
            )
        finally:
            for descriptor in shared:
                os.close(descriptor)
        # What raises the level is over before anything that could lie about it is loaded.
        self.level = self._await(Word.LEVEL, 0, self._limits.load, "start")[1] - 1
        self._words.post(Word.OPEN, 1)
        self._await(Word.READY, 0, self._limits.load, "load")
        self._look()

    def plan(self, calls: Sequence[Sequence[Operand]], what: What = What.RUN) -> None:
        """Describes the next batch, waits until views are made, and stops the process."""
        self._resume(Word.PLAN)
        layout.write_batch(self._page, calls, what)
        self._plans += 1
        self._words.post(Word.PLAN, self._plans)
        self._await(Word.READY, self._plans, self._limits.batch, "batch")
        self.stop()

    def run(self, spin_ns: int, *, first: bool = False) -> Timing:
        """Reveals the inputs, waits for the outputs, and stops the process again.

        Raises Refused for a fault, a forged answer or a time-out.
        """
        words, limit = self._words, self._limits.first if first else self._limits.batch
        before = self._calls
        self._words.post(Word.WAKE, before + 1)
        self._resume(Word.GO)
        waited = self._waited()
        if self.counters is not None:
            self.counters.begin()
        start, end, value = words.call(
            Word.GO, before + 1, Word.DONE, before, spin_ns, min(SLICE_NS, int(limit * 1e9))
        )
        if end < 0:
            end, value = self._await(Word.DONE, before, limit, "batch", since=start)
        if self.counters is not None:
            self.counters.end()
        clock = self._clock()
        answered = time.clock_gettime_ns(clock)
        self._calls += 1
        self.stop()
        stopping = _core.clock_ns() - end
        # Linux brings the clock of a process that runs up to date at its ticks only, so `answered`
        # may leave out a part of the batch; threads cannot have worked longer than there was time.
        late = min(time.clock_gettime_ns(clock) - answered, stopping * self._threads())
        if value != self._calls:
            raise Refused("RUNTIME_ERROR", f"answer {value} to {self._calls}", code="result_forge")
        self._look()
        return Timing(end - start + late, late, stopping, self._waited() - waited)

    def stop(self) -> None:
        """Stops every thread of the process. Raises Refused if it is gone."""
        if self._stopped:
            return
        process = self._alive()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGSTOP)
        found = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if found is not None and found.si_code != os.CLD_STOPPED:
            raise self._death()
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG)  # takes the report away
        self._stopped = True

    @contextlib.contextmanager
    def counted(self) -> Generator[Counters]:
        """Counts in the batches of a block; they take longer, so no verdict rests on them."""
        self.counters = Counters(self._alive().pid)
        try:
            yield self.counters
        finally:
            self.counters.close()
            self.counters = None

    def linger(self, seconds: float) -> float:
        """Lets it run with nothing to do: seconds of processor time it took meanwhile."""
        clock = self._clock()
        before = time.clock_gettime(clock)
        self._resume(None)
        time.sleep(seconds)
        self.stop()
        return time.clock_gettime(clock) - before

    def finish(self) -> None:
        """Asks it to look at itself and to leave. Raises Refused for what it changed."""
        self._resume(Word.PLAN)
        layout.write_batch(self._page, [], What.END)
        self._plans += 1
        self._words.post(Word.PLAN, self._plans)
        self._await(Word.READY, self._plans, self._limits.batch, "batch")
        strays = self._strays()
        self._look()
        if strays:
            raise Refused("RUNTIME_ERROR", f"{strays} processes are left", code="child")

    def close(self) -> None:
        """Kills what is left of the process group and frees its memory."""
        process = self._process
        if process is not None:
            self._strays()
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._process = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None
        if self._log is not None:
            self._log.close()
            self._log = None
        self._control.close()
        self.outputs.close()

    def log(self) -> str:
        """What it printed, at most 64 KiB, head and tail."""
        if self._log is None:
            return ""
        size = os.fstat(self._log.fileno()).st_size
        head = os.pread(self._log.fileno(), 32 << 10, 0)
        tail = os.pread(self._log.fileno(), 32 << 10, max(32 << 10, size - (32 << 10)))
        gap = b"" if size <= 64 << 10 else b"\n... left out ...\n"
        return (head + gap + tail).decode("utf-8", "replace")

    def _resume(self, word: Word | None) -> None:
        """Lets the group run; with a word, until it spins there, awake on a processor."""
        process = self._alive()
        if self._stopped:
            os.killpg(process.pid, signal.SIGCONT)
            self._stopped = False
        if word is not Word.GO:
            return
        beat = self._words.beat(word)
        deadline = time.monotonic() + self._limits.batch
        while self._words.beat(word) - beat < 2:
            self._words.nudge(word)
            time.sleep(1e-5)  # it may need this very processor to wake up
            if time.monotonic() > deadline or process.poll() is not None:
                raise self._death()

    def _await(
        self, word: Word, old: int, seconds: float, phase: str, since: int | None = None
    ) -> tuple[int, int]:
        """Waits until a word leaves `old`; a dead process is noticed within a slice."""
        start = since if since is not None else _core.clock_ns()
        while True:
            at, value = self._words.wait(word, old, 0, SLICE_NS)
            if at >= 0:
                return at, value
            if self._process is None or self._process.poll() is not None:
                raise self._death()
            if _core.clock_ns() - start > seconds * 1e9:
                self._kill()
                raise Refused("TIMEOUT", f"{phase}: no answer after {seconds:g} s")

    def _clock(self) -> int:
        """The clock of all its threads' processor time (clock_getcpuclockid)."""
        return (~self._alive().pid << 3) | 2

    def _threads(self) -> int:
        return len(os.listdir(f"/proc/{self._alive().pid}/task"))

    def _waited(self) -> int:
        """Nanoseconds that referee and harness were ready to run but had no processor."""
        total = 0
        for who in (os.getpid(), self._alive().pid):
            with contextlib.suppress(OSError, ValueError, IndexError):
                total += int(Path(f"/proc/{who}/schedstat").read_text().split()[1])
        return total

    def _look(self) -> None:
        state = self._words.load(Word.STATE)
        if state:
            raise of_state(state, layout.read_text(self._page))

    def _alive(self) -> Child:
        if self._process is None:
            raise KernelError("the harness is closed", hint="start a new one")
        return self._process

    def _kill(self) -> None:
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _death(self) -> Refused:
        """Why the process is gone, from what its signal handler wrote down, or its exit status."""
        process = self._alive()
        process.wait(2.0)
        self._kill()
        fault, detail = self._words.load(Word.FAULT), self._words.load(Word.DETAIL)
        if fault == _INPUT_WRITTEN:
            return Refused("RUNTIME_ERROR", f"wrote input byte {detail}", code="mutate_input")
        if fault == _SYSTEM_CALL:
            return of_call(seccomp.names().get(detail, str(detail)))
        if fault == _ADDRESS:
            return Refused("RUNTIME_ERROR", f"no memory at {detail:#x}")
        if fault == _ARITHMETIC:
            return Refused("RUNTIME_ERROR", f"signal {detail}")
        state, status = self._words.load(Word.STATE), process.returncode
        if state:
            return of_state(state, layout.read_text(self._page))
        if status is not None and status >= 0:
            tail = self.log()[-400:]
            if self.level or status == 0:
                text = f"left with status {status} and no answer: {tail}"
                return Refused("RUNTIME_ERROR", text, code="result_forge")
            return Refused("RUNTIME_ERROR", f"harness status {status}: {tail}")
        if status == -signal.SIGSYS:
            return of_call("unknown")
        if status == -signal.SIGXCPU:
            return Refused("TIMEOUT", "processor time is used up")
        return Refused("RUNTIME_ERROR", f"killed by signal {-(status or 0)}")

    def _strays(self) -> int:
        """Kills and counts other processes of its session, and what it left to us."""
        process, found = self._alive(), 0
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == process.pid:
                continue
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == process.pid and fields[0] != "Z":
                    os.kill(int(entry.name), signal.SIGKILL)
                    found += 1
        return found


def nursery(threads: int) -> Nursery:
    """Where harnesses of this many threads come from."""
    return Nursery(environment(threads), str(Path(_core.__file__).parent))


def environment(threads: int) -> dict[str, str]:
    """Variables of a harness: where modules lie, thread counts, and nothing of the caller's."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(str(p) for p in libraries()),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONSAFEPATH": "1",
        "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",  # plug-ins would load before the walls stand
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
    }


def libraries() -> list[Path]:
    """Folders from which a harness imports."""
    import msgspec as a
    import numpy as b

    import treadle as c

    names: Callable[[str | None], Path] = lambda f: Path(str(f)).resolve().parents[1]  # noqa: E731
    return list(dict.fromkeys(names(m.__file__) for m in (c, a, b)))


def readable(artefact: Path) -> list[Path]:
    """What stays open behind landlock: libraries, the artefact, what runtimes ask the system."""
    system = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/dev/null", "/dev/urandom",
              "/dev/zero", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system",
              "/sys/kernel/mm")  # fmt: skip
    prefixes = [Path(sys.base_prefix), Path(sys.prefix)]
    devices = [*Path("/dev").glob("nvidia*"), Path("/proc/driver/nvidia")]
    if len(devices) > 1:  # the driver looks at its own process and names the threads it starts
        devices += [Path("/proc/self"), Path("/proc/self/task")]
    core = Path(_core.__file__).parent
    places = (artefact, core, *libraries(), *prefixes, *map(Path, system), *devices)
    return [p for p in places if p.exists()]
