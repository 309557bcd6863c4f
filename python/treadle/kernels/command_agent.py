"""`treadle kernels agent`: a model behind an endpoint writes kernels for one definition."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.kernels.agent.budget import Budget
from treadle.kernels.command_bench import FAILED, Verb, cache_of, device_options, settings
from treadle.kernels.store import Dataset

if TYPE_CHECKING:  # what measures is loaded by the verbs that measure
    from treadle.kernels.agent.loop import Plan


def register(verb: Verb) -> None:
    """Adds the verb; `verb(name, help, run)` makes a parser."""
    made = verb("agent", "let a model write kernels for a definition", _agent)
    made.add_argument("definition")
    made.add_argument("--root", type=Path, default=Path("kernels"), help="the dataset (kernels)")
    made.add_argument("--run", dest="name", help="name of the run; the same again goes on with it")
    made.add_argument("--baseline", default="reference", help="solution or `reference`")
    options(made)
    device_options(made)


def options(parser: argparse.ArgumentParser) -> None:
    """Adds endpoint, search and budgets."""
    limits = Budget()
    parser.add_argument("--base-url", required=True, help="OpenAI-compatible, ends in /v1")
    parser.add_argument("--model", required=True, help="as the endpoint names it")
    parser.add_argument("--key-env", default="OPENAI_API_KEY", help="variable with the API key")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--language", default="cpp", help="cpp, cuda, python, numpy, triton (cpp)")
    parser.add_argument("--policy", default="refine", help="best-of-n, refine, beam (refine)")
    parser.add_argument("--width", type=int, default=3, help="of the beam (3)")
    parser.add_argument("--goal", type=float, default=math.inf, help="a score to stop at")
    parser.add_argument("--attempts", type=int, default=limits.attempts, help="budget")
    parser.add_argument("--tokens", type=int, default=limits.tokens, help="budget")
    parser.add_argument("--wall", type=float, default=limits.wall, help="budget in seconds")
    parser.add_argument("--device-seconds", type=float, default=limits.device, help="budget")
    parser.add_argument("--reply-tokens", type=int, default=limits.reply, help="of one answer")


def planned(given: argparse.Namespace, definition: str, name: str | None, baseline: str) -> Plan:
    """The plan of options. Without a name, equal searches are one run. Raises InvalidRequest."""
    from treadle.kernels.agent.loop import Plan

    words = (definition, given.model, given.language, given.policy, given.width, baseline)
    digest = hashlib.sha256(json.dumps(words).encode()).hexdigest()
    return Plan(
        run=name or digest[:10],
        definition=definition,
        language=given.language,
        policy=given.policy,
        width=max(1, given.width),
        baseline=baseline,
        device=given.device,
        budget=Budget(
            given.attempts, given.tokens, given.wall, given.device_seconds, given.reply_tokens
        ),
        settings=settings(given),
        share=given.share,
        wait=given.wait,
        goal=given.goal,
    )


def search(given: argparse.Namespace, plan: Plan, data: Dataset) -> dict[str, Any]:
    """Runs a plan with its progress on stderr; the report."""
    from treadle.kernels.agent import loop
    from treadle.kernels.agent.endpoint import Endpoint

    endpoint = Endpoint(
        given.base_url, given.model, key=given.key_env, temperature=given.temperature
    )

    def tell(text: str) -> None:
        if not given.quiet:
            print(text, file=sys.stderr, flush=True)

    return loop.run(plan, data, endpoint, cache_of(given), tell)


def _agent(given: argparse.Namespace) -> int:
    data = Dataset(given.root)
    report = search(given, planned(given, given.definition, given.name, given.baseline), data)
    if given.json:
        print(json.dumps(report))
    else:
        for row in report["attempts"]:
            what = f"{row['score']:.3f}x" if row["score"] is not None else row["status"]
            print(f"{row['solution']}  {what}  {row.get('refused', '')}".rstrip())
        final = report["final"]
        if final is not None:
            low, high = final["interval"]
            print(f"best: {final['solution']} {final['speedup']:.3f}x [{low:.3f}, {high:.3f}] on "
                  f"{final['held_out']} held-out workloads")  # fmt: skip
        print(f"stopped: {report['stopped']}")
    return 0 if report["final"] is not None else FAILED
