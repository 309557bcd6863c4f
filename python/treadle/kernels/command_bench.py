"""The verbs that measure: bench, resume, compare, selfcheck, doctor."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from treadle.errors import InvalidRequest, NotFound
from treadle.kernels.store import Dataset

if TYPE_CHECKING:  # what measures is loaded by the verbs that measure
    from contextlib import AbstractContextManager

    from treadle.kernels.run.coordinator import Report
    from treadle.kernels.run.pool import Pool
    from treadle.kernels.run.stage import Settings

FAILED = 2
"""Exit code where something was refused or has no verdict."""

Verb = Callable[..., argparse.ArgumentParser]


def register(verb: Verb) -> None:
    """Adds the verbs; `verb(name, help, run, *positional)` makes a parser."""
    benching = verb("bench", "measure solutions against a baseline", _bench, "root")
    _choice(benching)
    benching.add_argument("--again", action="store_true", help="also what has been measured")
    benching.add_argument("--ray", nargs="?", const="auto", metavar="ADDRESS",
                          help="on the devices of a Ray cluster (auto)")  # fmt: skip
    resuming = verb("resume", "go on with the last bench of a dataset", _resume, "root")
    device_options(resuming)
    comparing = verb("compare", "paired verdict of two solutions", _compare, "root")
    comparing.add_argument("first", help="solution, the baseline")
    comparing.add_argument("second", help="solution, the candidate")
    comparing.add_argument("--workload", action="append", default=[], help="uuid; all if none")
    device_options(comparing)
    checking = verb("selfcheck", "cheats, honest solutions and noise on this machine", _selfcheck)
    device_options(checking)
    looking = verb("doctor", "toolchains, isolation level, clocks", _doctor)
    device_options(looking)


def _choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--definition", action="append", default=[], help="all if none is given")
    parser.add_argument("--solution", action="append", default=[], help="all if none is given")
    parser.add_argument("--workload", action="append", default=[], help="uuid; all if none")
    parser.add_argument(
        "--baseline",
        default="reference",
        help="solution ({definition}: the definition's name) or `reference`",
    )
    device_options(parser)


def device_options(parser: argparse.ArgumentParser) -> None:
    """Adds what every verb that measures takes."""
    parser.add_argument("--device", default="cpu", help="kind, or kind:model")
    parser.add_argument("--seconds", type=float, default=10.0, help="of rounds, for each job")
    parser.add_argument("--rounds", type=int, default=240, help="at most, for each job")
    parser.add_argument("--isolation", type=int, default=4, choices=range(5), help="wall wanted")
    parser.add_argument("--threads", type=int, default=1, help="of one solution")
    parser.add_argument("--share", action="store_true", help="leave processors unpinned")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds for the device's lease")
    parser.add_argument("--cache", type=Path, default=None, help="folder of built solutions")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def settings(options: argparse.Namespace) -> Settings:
    """Settings from options. Raises InvalidRequest."""
    if not 0 < options.seconds <= 3600 or not 1 <= options.rounds <= 10_000:
        raise InvalidRequest(
            f"{options.seconds} s, {options.rounds} rounds", at="--seconds, --rounds",
            hint="give 1 to 10000 rounds in at most an hour",
        )  # fmt: skip
    from treadle.kernels.run.stage import Settings

    looks = tuple(n for n in (30, 60, 120, 240) if n < options.rounds)
    return Settings(
        looks=(*looks, options.rounds)[-4:],
        seconds=options.seconds,
        level=options.isolation,
        threads=options.threads,
    )


def cache_of(options: argparse.Namespace) -> Path:
    """Where artefacts are kept: the option, the dataset's own folder, or the user's."""
    if options.cache is not None:
        return Path(options.cache)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "treadle" / "kernels"


def _bench(options: argparse.Namespace) -> int:
    data = Dataset(options.root)
    plan = {
        "definitions": options.definition, "solutions": options.solution,
        "workloads": options.workload, "baseline": options.baseline,
    }  # fmt: skip
    place = options.root / ".treadle" / "bench.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(plan) + "\n")
    return _run(options, data, plan, again=options.again)


def _resume(options: argparse.Namespace) -> int:
    data = Dataset(options.root)
    try:
        plan = json.loads((options.root / ".treadle" / "bench.json").read_text())
    except (OSError, ValueError):
        raise NotFound(
            "no bench was begun here", at=str(options.root), hint="run treadle kernels bench"
        ) from None
    return _run(options, data, plan, again=False)


def _run(options: argparse.Namespace, data: Dataset, plan: dict[str, Any], *, again: bool) -> int:
    from treadle.kernels.run import coordinator

    tasks = coordinator.plan(
        data, plan["definitions"], plan["solutions"], plan["baseline"], plan["workloads"],
        options.device,
    )  # fmt: skip
    progress = None if options.quiet else coordinator.bar(sys.stderr)
    if getattr(options, "ray", None) is not None:
        from treadle.kernels.run.pool import spread

        with _ray_pool(options) as pool:
            report = spread(
                tasks, pool, settings(options), data=data, again=again, progress=progress
            )
        return _told(options, report)
    report = coordinator.bench(
        tasks, options.device, settings(options), data=data, cache=cache_of(options),
        again=again, share=options.share, wait=options.wait, progress=progress,
    )  # fmt: skip
    return _told(options, report)


def _ray_pool(options: argparse.Namespace) -> AbstractContextManager[Pool]:
    """The pool above this layer, found by its name: kernels know no Ray."""
    made = importlib.import_module("treadle.cluster.eval_pool").EvalPool(
        options.device, cache_of(options), options.ray, root=options.root, share=options.share
    )
    return cast("AbstractContextManager[Pool]", made)


def _compare(options: argparse.Namespace) -> int:
    from treadle.kernels.run import coordinator

    data = Dataset(options.root, readonly=True)
    named = {s.name: s for s in data.solutions() if s.name in (options.first, options.second)}
    for name in (options.first, options.second):
        if name not in named:
            raise NotFound(f"no solution {name!r}", at=str(options.root), hint="see stat")
    first, second = named[options.first], named[options.second]
    if first.definition != second.definition:
        raise InvalidRequest(
            f"they solve {first.definition} and {second.definition}",
            at=f"{first.name}, {second.name}", hint="compare two of one definition",
        )  # fmt: skip
    definition = data.definition(first.definition)
    tasks = [
        coordinator.Task(definition, row.workload, second, first)
        for row in data.workloads(definition.name)
        if not options.workload or row.workload.uuid in options.workload
    ]
    report = coordinator.bench(
        tasks, options.device, settings(options), cache=cache_of(options), share=options.share,
        wait=options.wait, progress=None if options.quiet else coordinator.bar(sys.stderr),
    )  # fmt: skip
    return _told(options, report)


def _told(options: argparse.Namespace, report: Report) -> int:
    from treadle.kernels.run import coordinator

    rows = list(coordinator.verdicts(report.done))
    if options.json:
        print(json.dumps({"results": rows, "left_out": report.left_out, "faults": report.faults}))
    else:
        for row in rows:
            print(_line(row))
        for fault in report.faults:
            print(f"fault: {fault}")
        print(f"{len(rows)} measured, {report.left_out} done before, {len(report.faults)} faults")
    return FAILED if report.faults or any(r["status"] != "PASSED" for r in rows) else 0


def _line(row: dict[str, Any]) -> str:
    axes = " ".join(f"{k}={v}" for k, v in row["axes"].items())
    head = f"{row['definition']} {row['solution']} {axes}"
    if row["status"] != "PASSED":
        code = f" [{row['refused']}]" if row["refused"] else ""
        return f"{head}: {row['status']}{code} {row.get('reason', '')}".rstrip()
    low, high = row["ci"]
    return (
        f"{head}: {row['verdict']} {row['speedup']:.3f} [{low:.3f}, {high:.3f}] "
        f"{row['latency_ms'] * 1e3:.2f} us, {row['n']} rounds"
    )


def _selfcheck(options: argparse.Namespace) -> int:
    from treadle.kernels.run.selfcheck import selfcheck

    rows = list(selfcheck(options.device, settings(options), cache_of(options), options.share))
    good = all(row["ok"] for row in rows)
    if options.json:
        print(json.dumps({"ok": good, "checks": rows}))
    else:
        for row in rows:
            print(f"{'ok    ' if row['ok'] else 'FAILED'} {row['name']}: {row['found']}")
    return 0 if good else FAILED


def _doctor(options: argparse.Namespace) -> int:
    from treadle.kernels.run.doctor import findings

    rows = findings(options.device, options.isolation)
    if options.json:
        print(json.dumps(rows))
    else:
        for name, value in rows.items():
            print(f"{name}: {value}")
    return 0
