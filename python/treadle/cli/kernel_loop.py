"""`treadle kernels loop`: a running model's dearest kernel, rewritten by an agent, put into use.

The engine runs and is watched; definitions come from what its backend asks for, workloads from
what it calls; an agent proposes, the referee measures, the store remembers; the engine runs again
with the winner, and the step is timed both ways. It stands here because it needs the engine, which
`treadle.kernels` does not know.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.cli.options import note
from treadle.cli.subject import Subject, running
from treadle.errors import InvalidRequest, NotFound
from treadle.kernels.command_agent import options as agent_options
from treadle.kernels.command_agent import planned, search
from treadle.kernels.command_bench import FAILED, cache_of, device_options
from treadle.kernels.store import Dataset

if TYPE_CHECKING:
    from treadle.kernels.apply import Table
    from treadle.kernels.schema import Definition

PROMPTS, CHECKED = 4, 12
"""Prompts that are watched, and tokens that must be the same with the kernel and without."""
SOURCE = "loop"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the whole loop. Exit code 0 only where the step got faster with the same tokens."""
    given = _parser().parse_args(arguments)
    began = time.monotonic()
    if given.device != "cpu":
        raise InvalidRequest(f"device {given.device!r}", at="--device", hint="the loop runs on cpu")
    subject = Subject.of(given.subject, given.rows, given.threads)
    data = Dataset(given.root)
    shares = _watched(data, subject)
    name = given.definition or max(shares, key=lambda key: shares[key])
    if name not in shares:
        raise NotFound(f"{name!r} is not called", at="--definition", hint=f"one of {[*shares]}")
    _say(given, f"{name} takes {shares[name]:.0%} of a step")
    calls = _captured(data, subject, data.definition(name))
    report = search(given, planned(given, name, given.name, "reference"), data)
    found: dict[str, Any] = {
        "definition": name, "shares": shares, "captured": calls, "agent": report,
        **_applied(given, data, subject, name, report),
    }  # fmt: skip
    found["seconds"] = round(time.monotonic() - began, 1)
    _print(given, found)
    step = found["step"]
    return 0 if step is not None and step["same_tokens"] and step["verdict"] == "FAST" else FAILED


def _parser() -> argparse.ArgumentParser:
    text = "watch a model, let an agent rewrite its dearest kernel, and run with the winner"
    parser = argparse.ArgumentParser(prog="treadle kernels loop", description=text)
    parser.add_argument("--root", type=Path, default=Path("kernels"), help="the dataset (kernels)")
    parser.add_argument(
        "--subject", default="tiny", help="model to make faster: path, repository, alias (tiny)"
    )
    parser.add_argument("--rows", type=int, default=64, help="tokens of a step (64)")
    parser.add_argument("--definition", help="what to improve; the dearest if none is given")
    parser.add_argument("--run", dest="name", help="name of the agent's run")
    parser.add_argument("--least-isolation", type=int, default=2, help="to be put into use (2)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    agent_options(parser)
    device_options(parser)
    return parser


def _watched(data: Dataset, subject: Subject) -> dict[str, float]:
    """Runs with a watch at every call site; definition → its share of the time of all of them.

    Definitions that the dataset lacks are added to it.
    """
    from treadle.kernels.apply.watch import Watch

    watch = Watch(data)
    with running(subject, watch) as engine:
        for number in range(PROMPTS + 1):
            if number == 1:
                watch.clear()  # the first step also fills caches and starts threads
            engine.answer(subject.prompt(number), 1)
    total = sum(watch.seconds.values())
    if not total:
        raise NotFound("no call of it has a definition", at="--subject", hint="another model")
    return {n: s / total for n, s in sorted(watch.seconds.items(), key=lambda p: -p[1])}


def _captured(data: Dataset, subject: Subject, definition: Definition) -> int:
    """Records what the engine calls this definition with, once for a dataset; rows there are."""
    from treadle.kernels.capture import Limits, Recorder

    def rows() -> int:
        data.index.refresh()
        found = [row.workload.treadle or {} for row in data.workloads(definition.name)]
        return sum(one.get("source") == SOURCE for one in found)

    if rows():
        return rows()
    recorder = Recorder(
        data, SOURCE, wanted=lambda name, _: name == definition.name, limits=Limits(keep=1)
    )
    with running(subject, recorder) as engine:
        for number in range(PROMPTS):
            engine.answer(subject.prompt(number), 1)
    manifest = recorder.close()
    if not rows():
        raise NotFound("nothing was captured", at=str(manifest), hint="it says what was dropped")
    return rows()


def _applied(
    given: argparse.Namespace, data: Dataset, subject: Subject, name: str, report: dict[str, Any]
) -> dict[str, Any]:
    """What a table of the run's traces chooses, and the step with it and without it."""
    from treadle.kernels.apply import Policy
    from treadle.kernels.enable import open_table

    policy = Policy(isolation=given.least_isolation, authors=frozenset({report["author"]}))
    table = open_table(data.root, report["device"], cache=cache_of(given), policy=policy)
    try:
        axis = dict.fromkeys(_variable(data.definition(name)), subject.rows)
        decision = table.decide(name, axis)
        told = {"solution": decision.solution, "reason": decision.reason}
        core = table.core(name)
        if core is None or not any(core.choices):
            return {"applied": told, "step": None}
        _say(given, "applying the winner")
        step, counters = _step(subject, table, name)
    finally:
        table.close()
    chosen = [one for one in core.choices if one is not None]
    told["solution"] = told["solution"] or chosen[0]
    told["state"] = counters["entries"][told["solution"]]["state"]
    told["reason"] = table.decide(name, axis).reason
    return {"applied": {**told, "hits": counters["hit"]}, "step": step}


def _step(subject: Subject, table: Table, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same prompts through both engines, interleaved: a step is a prompt's one forward pass."""
    import random

    from treadle.kernels import stats

    rng = random.Random(1)
    with running(subject, None) as off, running(subject, table) as on:
        if not table.wait():
            raise InvalidRequest("the winner was not built in time", hint="run it again")
        same = all(
            off.answer(subject.prompt(n), CHECKED)[0] == on.answer(subject.prompt(n), CHECKED)[0]
            for n in range(PROMPTS)
        )
        number = PROMPTS

        def measure(rounds: int) -> list[stats.Pair]:
            nonlocal number, same
            pairs: list[stats.Pair] = []
            for _ in range(rounds):
                number += 1
                prompt = subject.prompt(number)  # new each time: no prefix of it is cached
                order = [(0, off), (1, on)]
                rng.shuffle(order)
                took, first = [0.0, 0.0], [[0], [0]]
                for place, engine in order:
                    first[place], took[place] = engine.answer(prompt, 1)
                same = same and first[0] == first[1]
                pairs.append((took[0], took[1]))
            return pairs

        measure(3)
        found = stats.race(measure, looks=(30, 60, 120))
    step = {
        "rows": subject.rows, "off_ms": found.baseline * 1e3, "on_ms": found.candidate * 1e3,
        "speedup": found.ratio, "ci": [found.low, found.high], "verdict": str(found.verdict),
        "n": found.n, "same_tokens": same,
    }  # fmt: skip
    return step, table.counters()[name]


def _variable(definition: Definition) -> list[str]:
    from treadle.kernels.schema import AxisVar

    return [name for name, axis in definition.axes.items() if isinstance(axis, AxisVar)]


def _say(given: argparse.Namespace, text: str) -> None:
    if not given.quiet:
        note(text)


def _print(given: argparse.Namespace, found: dict[str, Any]) -> None:
    if given.json:
        print(json.dumps(found))
        return
    step, applied = found["step"], found["applied"]
    print(f"{found['definition']}: {applied['solution'] or 'no winner'}, {applied['reason']}")
    if step is not None:
        low, high = step["ci"]
        tokens = "the same tokens" if step["same_tokens"] else "OTHER TOKENS"
        times = f"{step['off_ms']:.3f} ms -> {step['on_ms']:.3f} ms"
        proof = f"{step['verdict']} {step['speedup']:.3f} [{low:.3f}, {high:.3f}]"
        print(f"step of {step['rows']} tokens: {times}, {proof}, {tokens}")
