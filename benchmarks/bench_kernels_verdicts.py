"""How often a verdict on kernels is false, and how often a true gain is found.

Simulated: rounds with noise, drift and spikes, as a machine has them. Real: two processes running
the same kernel on this CPU, and one doing 5 % less work, through referee, rings and sandbox.

    python benchmarks/bench_kernels_verdicts.py [--pairs 2000] [--real 0]

The real part wants a quiet machine with two cores; `--real 500` takes about half an hour.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

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


def real(pairs: int) -> dict[str, Any]:
    """A/A and a true gain on this CPU; the referee and the harness take one core each."""
    cache = Path(tempfile.mkdtemp(prefix="treadle-verdicts-"))
    device = Cpu()

    def side(name: str, times: int) -> Side:
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
        return Side(one, build(one, ADD, device=device.name, cache=cache).folder)

    workload = Workload(uuid="aa", axes={"T": 16}, inputs=dict.fromkeys("xy", RandomInput()))
    out: dict[str, Any] = {"device": device.name, "timer": device.timer}
    match = Match(ADD, workload, side("base", BASE), device, Settings(seconds=20.0))
    try:
        for name, times in (("equal", BASE), ("gain_5", round(BASE / 1.05))):
            rows = list(match.repeat(side(name, times), pairs))
            out[name] = {
                **shares([row.verdict for row in rows]),
                "ratio_median": float(np.median([row.ratio for row in rows])),
                "rounds_median": float(np.median([row.n for row in rows])),
                "half_width_median": float(np.median([(r.high - r.low) / 2 for r in rows])),
            }
    finally:
        match.close()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2000, help="simulated runs of each case")
    parser.add_argument("--real", type=int, default=0, help="real verdicts of each case")
    args = parser.parse_args()
    figures: dict[str, Any] = {
        "machine": machine(), "versions": versions("numpy"), "simulated": {},
        "goal": "A/A at 1 % noise: at most 1 % FAST or SLOW; 5 % gain: at least 95 % FAST",
    }  # fmt: skip
    for noise in (0.01, 0.03):
        for gain in (1.0, 1.01, 1.02, 1.05):
            found = [simulated(gain, noise, seed) for seed in range(args.pairs)]
            row = shares(found)
            figures["simulated"][f"noise {noise:.0%}, gain {gain - 1:.0%}"] = row
            print(f"noise {noise:.0%} gain {gain - 1:.0%}: {row['verdicts']}", flush=True)
    if args.real:
        figures["real"] = real(args.real)
        print(figures["real"])
    print(write("kernels_verdicts", figures))


if __name__ == "__main__":
    main()
