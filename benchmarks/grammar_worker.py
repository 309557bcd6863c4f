"""One engine in one process: jobs as JSON lines in, times and verdicts as JSON lines out.

    python benchmarks/grammar_worker.py ENGINE TOKENIZER_FOLDER

A job is {"kind": "schema" | "tools", "source": ..., "walks": [[ids, valid], ...]}. Times are thread
CPU nanoseconds, read around each call. What other threads of the process spend meanwhile is
counted apart (`elsewhere_ns`), so that no engine can hide work there.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import grammar_engines

cpu = time.thread_time_ns
MEMORY = 10 << 30  # bytes of address space; beyond, a job fails and not the machine


def resident() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def clock_floor() -> float:
    """What reading the clock around nothing costs, mean ns."""
    count = 20_000
    total = 0
    for _ in range(count):
        begin = cpu()
        end = cpu()
        total += end - begin
    return total / count


def walk(engine: Any, matcher: Any, ids: list[int], first: bool, fills: Any, accepts: Any) -> str:
    """Feeds `ids` under masks. The first mask of a grammar belongs to its time to first mask."""
    for place, token in enumerate(ids):
        begin = cpu()
        engine.fill(matcher)
        end = cpu()
        if place or not first:
            fills.append(end - begin)
        failed = engine.error(matcher)
        if failed:
            return f"error: {failed}"
        if not grammar_engines.allowed(engine.bits, token):
            return "reject"
        begin = cpu()
        taken = engine.accept(matcher, token)
        accepts.append(cpu() - begin)
        if not taken:
            return "error: accept and mask disagree"
    begin = cpu()
    engine.fill(matcher)
    fills.append(cpu() - begin)
    return "accept" if engine.may_end(matcher) else "reject"


def run(engine: Any, job: dict[str, Any], say: Any) -> dict[str, Any]:
    """One job: compile, first mask, every walk."""
    out: dict[str, Any] = {"verdicts": [], "fills": [], "accepts": []}
    before, whole = resident(), time.process_time_ns()
    begin = cpu()
    try:
        compiled = getattr(engine, job["kind"])(job["source"])
    except grammar_engines.RefusedError as error:
        return {"refused": str(error)}
    made = cpu()
    say({"phase": "first mask"})
    between = cpu()
    matcher = engine.matcher(compiled)
    engine.fill(matcher)
    end = cpu()
    if engine.error(matcher):
        return {"refused": engine.error(matcher)}
    out["compile_ns"], out["first_ns"] = made - begin, end - between
    out["grown"] = resident() - before
    out["size"] = engine.size(compiled)
    say({"phase": "masks"})
    for number, (ids, _) in enumerate(job["walks"]):
        if number:
            matcher = engine.matcher(compiled)
        out["verdicts"].append(
            walk(engine, matcher, ids, number == 0, out["fills"], out["accepts"])
        )
    out["elsewhere_ns"] = max(0, time.process_time_ns() - whole - (cpu() - begin))
    return out


def main() -> None:
    """Serves jobs until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # engines print; the pipe is for answers
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    def say(message: dict[str, Any]) -> None:
        answers.write(json.dumps(message) + "\n")

    engine = grammar_engines.make(sys.argv[1], Path(sys.argv[2]))
    gc.collect()
    say({"ready": True, "floor_ns": clock_floor(), "resident": resident()})
    gc.disable()
    for line in sys.stdin:
        try:
            answer = run(engine, json.loads(line), say)
        except Exception as error:  # a defect of the engine costs one job
            answer = {"crash": f"{type(error).__name__}: {error}"[:300]}
        gc.collect()
        answer["resident"] = resident()
        say(answer)


if __name__ == "__main__":
    main()
