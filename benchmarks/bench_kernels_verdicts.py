"""How often a verdict on kernels is false, and how often a true gain is found.

Simulated: rounds with noise, drift and spikes, as a machine has them. Real: two processes running
the same kernel on this CPU, and one doing 5 % less work, through referee, rings and sandbox.

    python benchmarks/bench_kernels_verdicts.py [--pairs 600] [--real 0] [--at-once 1] [--minutes 5]

The real part wants a quiet machine with two cores for each pair at a time: referee on one, both
kernels in turn on the other. `--minutes` is what all real pairs together may take; a pair gets its
share of it, at most 20 s and at least half a second. Nothing new begins after that time; with
`--kept FOLDER` the next run on the same machine goes on where this one ended. On two cores
`--real 500 --minutes 30` does, on sixteen `--real 500 --at-once 7 --minutes 5`.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import machine, versions, write

from treadle.kernels.build import build
from treadle.kernels.run.cpu import Cpu
from treadle.kernels.run.match import Match
from treadle.kernels.run.stage import Settings, Side
from treadle.kernels.schema import (
    AxisConst,
    AxisVar,
    Definition,
    RandomInput,
    Solution,
    Source,
    Spec,
    Tensor,
    Workload,
)
from treadle.kernels.stats import Pair, Verdict, race

ADD = Definition(
    name="add_h256",
    op_type="add",
    axes={"T": AxisVar(), "D": AxisConst(value=256)},
    inputs={n: Tensor(shape=["T", "D"], dtype="float32") for n in "xy"},
    outputs={"z": Tensor(shape=["T", "D"], dtype="float32")},
    reference="def run(x, y):\n    return x + y\n",
    treadle={"op": "add", "attrs": {}},
)
BASE = 200
"""Additions of the baseline's body; a true gain of 5 % does 1/1.05 of them."""


CASES = ((0.01, 1.0), (0.01, 1.05), (0.01, 1.01), (0.01, 1.02), (0.03, 1.0), (0.03, 1.05))
"""Noise and true gain of each simulated case."""


def simulated(gain: float, noise: float, seed: int) -> Verdict:
    """One verdict: noise, 2 % drift over 240 rounds, 2 % of times 30 % too long."""
    rng = np.random.default_rng([seed, 11])
    at = 0

    def measure(n: int) -> list[Pair]:
        nonlocal at
        drift = 1 + 0.02 * (at + np.arange(n)) / 240
        at += n
        spikes = np.where(rng.random((n, 2)) < 0.02, 1.3, 1.0)
        times = np.exp(rng.normal(0, noise, (n, 2))) * spikes * drift[:, None] * 1e-4
        return [(float(a) * gain, float(b)) for a, b in times]

    return race(measure, seed).verdict


def shares(found: list[Verdict]) -> dict[str, Any]:
    """Counts and the shares that goals speak of."""
    counts = Counter(str(v) for v in found)
    decided = counts["FAST"] + counts["SLOW"]
    return {
        "runs": len(found), "verdicts": dict(counts), "fast": counts["FAST"] / len(found),
        "fast_or_slow": decided / len(found),
    }  # fmt: skip


class Share(NamedTuple):
    """What one process measures: this many pairs of each case, on its own two cores, until a time
    of the monotonic clock; a verdict is a line of `kept` as soon as it is there."""

    cores: list[int]
    pairs: int
    seconds: float
    cache: Path
    until: float
    kept: Path


CHUNK = 10
"""Verdicts on one pair of processes; the next ones are on new processes, at other addresses."""
ROUNDS = (30, 60, 120, 240)
OVERHEAD = 0.3
"""Share of a real pair's time that starting, trials and audits take beside its rounds."""


def side(name: str, times: int, cache: Path) -> Side:
    """A kernel that adds so many times."""
    body = (
        f"import numpy as np\n\n\ndef run(x, y, z):\n    for _ in range({times}):\n"
        "        np.add(x, y, out=z)\n"
    )
    one = Solution(
        name=name, definition=ADD.name, author="treadle",
        spec=Spec(language="python", target_hardware=["cpu"], entry_point="main.py::run",
                  treadle={"array": "numpy"}),
        sources=[Source(path="main.py", content=body)],
    )  # fmt: skip
    return Side(one, build(one, ADD, device=Cpu().name, cache=cache).folder)


def measured(share: Share) -> None:
    """Verdict, ratio, rounds, half width and limit of each pair, the cases in turn."""
    if share.cores:
        os.sched_setaffinity(0, share.cores)
    workload = Workload(uuid="aa", axes={"T": 16}, inputs=dict.fromkeys("xy", RandomInput()))
    settings = Settings(seconds=share.seconds, looks=ROUNDS)
    sides = {n: side(n, t, share.cache) for n, t in
             (("equal", BASE), ("gain_5", round(BASE / 1.05)))}  # fmt: skip
    done = 0
    while done < share.pairs and time.monotonic() < share.until:
        match = Match(ADD, workload, side("base", BASE, share.cache), Cpu(), settings)
        wanted = min(CHUNK, share.pairs - done)
        try:
            for name, other in sides.items():
                for row in match.repeat(other, wanted):
                    half = (row.high - row.low) / 2
                    found = [str(row.verdict), row.ratio, row.n, half, share.seconds]
                    line = json.dumps([name, *found])
                    with share.kept.open("a") as file:
                        file.write(f"{line}\n")
        finally:
            match.close()
        done += wanted
        if share.cores:  # the match pinned this process to the referee's core
            os.sched_setaffinity(0, share.cores)


def core_pairs(count: int) -> Iterator[list[int]]:
    """Disjoint pairs of processors, two threads of a core together where there are such."""

    def place(cpu: int) -> tuple[int, int, int]:
        base = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
        try:
            package, core = (int((base / f).read_text()) for f in
                             ("physical_package_id", "core_id"))  # fmt: skip
        except (OSError, ValueError):
            return 0, cpu, cpu
        return package, core, cpu

    cpus = sorted(os.sched_getaffinity(0), key=place)
    if 2 * count > len(cpus):
        raise SystemExit(f"--at-once {count} wants {2 * count} cores, there are {len(cpus)}")
    for i in range(count):
        yield cpus[2 * i : 2 * i + 2]


def real(pairs: int, at_once: int, minutes: float, kept: Path | None) -> dict[str, Any]:
    """A/A and a true gain on this CPU, several pairs of processes at a time. kept: where verdicts
    are written, and those of earlier runs lie."""
    cache = Path(tempfile.mkdtemp(prefix="treadle-verdicts-"))
    folder = kept or cache
    folder.mkdir(exist_ok=True)
    device = Cpu()
    before = [json.loads(line)[0] for path in sorted(folder.glob("verdicts-*.jsonl"))
              for line in path.read_text().splitlines()]  # fmt: skip
    pairs = max(0, pairs - min(before.count("equal"), before.count("gain_5")))
    each = 60 * minutes * at_once / max(2 * pairs, 1)
    seconds = min(max(each * (1 - OVERHEAD), 0.5), 20.0)
    side("base", BASE, cache)  # built once, before anybody measures
    counts = [pairs // at_once + (i < pairs % at_once) for i in range(at_once)]
    begun = time.monotonic()
    shares_ = [
        Share(cores, count, seconds, cache, begun + 60 * minutes, folder / f"verdicts-{i}.jsonl")
        for i, (cores, count) in enumerate(zip(core_pairs(at_once), counts, strict=True))
    ]
    with ProcessPoolExecutor(at_once, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(measured, share) for share in shares_]
    faults = [repr(job.exception()) for job in jobs if job.exception() is not None]
    rows = [json.loads(line) for path in sorted(folder.glob("verdicts-*.jsonl"))
            for line in path.read_text().splitlines()]  # fmt: skip
    out: dict[str, Any] = {
        "device": device.name, "timer": device.timer, "at_once": at_once,
        "seconds_a_pair_at_most": round(max(row[5] for row in rows), 2), "faults": faults,
    }  # fmt: skip
    for name in ("equal", "gain_5"):
        of = [row[1:] for row in rows if row[0] == name]
        if not of:
            continue
        out[name] = {
            **shares([Verdict(row[0]) for row in of]),
            "ratio_median": float(np.median([row[1] for row in of])),
            "ratio_5_95": [float(q) for q in np.quantile([row[1] for row in of], [0.05, 0.95])],
            "rounds_median": float(np.median([row[2] for row in of])),
            "half_width_median": float(np.median([row[3] for row in of])),
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=600, help="simulated runs of each case")
    parser.add_argument("--real", type=int, default=0, help="real verdicts of each case")
    parser.add_argument(
        "--at-once", type=int, default=1, help="real pairs at a time, two cores each"
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="for all real pairs")
    parser.add_argument("--kept", type=Path, help="folder of verdicts, gone on with")
    args = parser.parse_args()
    figures: dict[str, Any] = {
        "machine": machine(), "versions": versions("numpy"), "simulated": {},
        "goal": "A/A at 1 % noise: at most 1 % FAST or SLOW; 5 % gain: at least 95 % FAST",
    }  # fmt: skip
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for noise, gain in CASES:
            one = functools.partial(simulated, gain, noise)
            row = shares(list(pool.map(one, range(args.pairs), chunksize=20)))
            figures["simulated"][f"noise {noise:.0%}, gain {gain - 1:.0%}"] = row
            print(f"noise {noise:.0%} gain {gain - 1:.0%}: {row['verdicts']}", flush=True)
    if args.real:
        figures["real"] = real(args.real, args.at_once, args.minutes, args.kept)
        print(figures["real"])
    print(write("kernels_verdicts", figures))


if __name__ == "__main__":
    main()
