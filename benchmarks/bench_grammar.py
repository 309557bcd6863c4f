"""Constrained decoding without a model: treadle against xgrammar and llguidance.

Every job (one grammar, its texts) runs in each engine before the next job begins, in turns of who
is first; or, with --beside on a machine of many cores, every engine goes through the jobs by
itself, on cores of its own. One thread, thread CPU time. Workloads:
  schemas     JSON Schemas with labelled instances: speed, and whether each is judged right
  tools       1 to 200 tools a request, free text mixed with calls
  repetition  counted strings, arrays, objects and patterns with bounds of 100 to 10,000
Time to first mask (TTFM) = compile + matcher + first mask. A job that runs into the time limit
counts as the limit; a refused one is counted apart.

    python benchmarks/bench_grammar.py [--data FOLDER] [--tokenizer FOLDER] [--schemas 400]
    python benchmarks/bench_grammar.py --beside treadle=1 llguidance=1 xgrammar=4
    python benchmarks/bench_grammar.py --redraw          # the pictures from the stored result

Without arguments: the committed sample of schemas and SmolLM2's tokenizer. `--data` is a folder of
MaskBench files, `--tokenizer` one with tokenizer.json and tokenizer_config.json. Where fewer
distinct tools exist than a request wants, the others are renamed ones (their names and argument
names differ, so their grammars do); the result says how many. Peers that are not installed are
left out: pip install xgrammar==0.2.8 llguidance==1.9.1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import cycle
from pathlib import Path
from typing import Any

import grammar_engines
import grammar_summary
import grammar_workloads
from grammar_workers import Worker
from grammar_workloads import Job
from machine import RESULTS, machine, versions, write

from treadle.errors import InvalidRequest
from treadle.text import Tokenizer

WORKLOADS = ("schemas", "tools", "repetition")


def default_tokenizer(folder: Path) -> Path:
    """SmolLM2's tokenizer, written out as tokenizer.json with its config."""
    from treadle.limits import Limits
    from treadle.models.gguf import GgufFile
    from treadle.models.sources import locate
    from treadle.text.gguf import gguf_spec

    spec = gguf_spec(GgufFile.open(locate("smollm2-135m"), Limits()).metadata, Limits())
    (folder / "tokenizer.json").write_text(spec.text, encoding="utf-8")
    pieces = {number: piece for piece, number in spec.data["model"]["vocab"].items()}
    end = pieces[spec.eos_ids[0]]
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def make_jobs(args: argparse.Namespace) -> tuple[dict[str, list[Job]], dict[str, Any]]:
    """The jobs of each workload, and what the result says about where they come from."""
    entries = grammar_workloads.read_entries(args.data)
    pool, distinct = grammar_workloads.tool_pool(entries, max(grammar_workloads.COUNTS) + 20)
    jobs = {
        "schemas": grammar_workloads.schema_jobs(entries, args.schemas, args.seed),
        "tools": grammar_workloads.tool_jobs(pool, args.requests, args.seed) if pool else [],
        "repetition": grammar_workloads.repetition_jobs(args.seed),
    }
    about = {
        "schemas_in_data": len(entries),
        "tools": {"distinct": distinct, "renamed": len(pool) - distinct},
    }
    return {name: jobs[name] for name in args.only}, about


def encoded(job: Job, tokenizer: Tokenizer) -> dict[str, Any] | None:
    """The job as workers take it; None where a text has no tokens (lone surrogates)."""
    try:
        walks = [[tokenizer.encode(text), valid] for text, valid in job.texts]
    except InvalidRequest:
        return None
    return {"kind": job.kind, "source": job.source, "walks": walks}


def run(
    name: str, jobs: list[Job], workers: dict[str, Worker], tokenizer: Tokenizer, seconds: float
) -> tuple[list[Job], dict[str, list[dict[str, Any]]]]:
    """Every job in every engine, alternating. Progress on stderr."""
    taken: list[Job] = []
    answers: dict[str, list[dict[str, Any]]] = {engine: [] for engine in workers}
    begin = shown = time.monotonic()
    for number, job in enumerate(jobs):
        message = encoded(job, tokenizer)
        if message is None:
            continue
        taken.append(job)
        order = list(workers)
        turn = number % len(order)
        for engine in order[turn:] + order[:turn]:
            answers[engine].append(workers[engine].ask(message, seconds))
        now = time.monotonic()
        if now - shown > 5 or number + 1 == len(jobs):
            shown = now
            print(
                f"{name}: {number + 1}/{len(jobs)} jobs, {now - begin:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    return taken, answers


def run_beside(
    name: str,
    jobs: list[Job],
    workers: dict[str, list[Worker]],
    tokenizer: Tokenizer,
    seconds: float,
) -> tuple[list[Job], dict[str, list[dict[str, Any]]]]:
    """Every job in every engine, all engines at once; several processes of one deal the jobs out,
    each pinned to a core. Progress on stderr."""
    taken = [(job, message) for job in jobs if (message := encoded(job, tokenizer)) is not None]
    answers: dict[str, list[dict[str, Any]]] = {e: [{}] * len(taken) for e in workers}
    cores = cycle(sorted(os.sched_getaffinity(0))[-16:])

    def lane(engine: str, worker: Worker, first: int, step: int, core: int) -> None:
        for place in range(first, len(taken), step):
            worker.pin(core)
            answers[engine][place] = worker.ask(taken[place][1], seconds)

    begin = time.monotonic()
    with ThreadPoolExecutor(sum(map(len, workers.values()))) as pool:
        going = {
            pool.submit(lane, engine, worker, first, len(several), next(cores)): engine
            for engine, several in workers.items()
            for first, worker in enumerate(several)
        }
        for done in as_completed(going):
            done.result()
            print(f"{name}: {going[done]} after {time.monotonic() - begin:.0f} s", file=sys.stderr)
    return [job for job, _ in taken], answers


def summarise(
    name: str,
    jobs: list[Job],
    answers: dict[str, list[dict[str, Any]]],
    floors: dict[str, float],
    seconds: float,
) -> dict[str, Any]:
    """The result's part about one workload."""
    out: dict[str, Any] = {
        "engines": {
            engine: grammar_summary.engine_summary(jobs, found, floors[engine], seconds)
            for engine, found in answers.items()
        },
        "peer_over_treadle": {
            engine: grammar_summary.ratios(
                answers["treadle"], found, (floors["treadle"], floors[engine]), seconds
            )
            for engine, found in answers.items()
            if engine != "treadle"
        },
    }
    if name != "schemas":
        out["groups"] = {
            engine: grammar_summary.by_group(jobs, found, seconds)
            for engine, found in answers.items()
        }
    if name == "repetition":
        out["jobs"] = {
            job.name: {
                engine: {
                    "ttfm_ms": None
                    if (f := grammar_summary.first_ns(a, seconds)) is None
                    else f / 1e6,
                    "mask_us": grammar_summary.quantiles(a.get("fills", ()), 1e3),
                }
                for engine, found in answers.items()
                for a in (found[place],)
            }
            for place, job in enumerate(jobs)
        }
    return out


def memory(worker: Worker, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Resident MiB of an engine's process: at the start, at the end, at most."""
    seen = [answer["resident"] for answer in answers if "resident" in answer]
    mib = [round(value / 2**20, 1) for value in (worker.hello["resident"], *seen)]
    return {"start": mib[0], "end": mib[-1], "most": max(mib), "restarts": worker.restarts}


def show(figures: dict[str, Any]) -> None:
    """A table for people."""
    line = "{:<11}{:<12}{:>8}{:>8}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>10}{:>9}"
    head = ("workload", "engine", "compiled", "wrong", "TTFM p50", "p99 ms", "max")
    print(line.format(*head, "mask p50", "p90 us", "p99", "p99.9", "mean"))
    for name, work in figures["workloads"].items():
        for engine, row in work["engines"].items():
            first, mask = row["ttfm_ms"], row["mask_us"]
            wrong = row["valid_rejected"] + row["invalid_accepted"]
            cells = [first.get(key, "-") for key in ("p50", "p99", "max")]
            cells += [mask.get(key, "-") for key in ("p50", "p90", "p99", "p99.9", "mean")]
            print(line.format(name, engine, f"{row['compiled']}/{row['jobs']}", wrong, *cells))


def main() -> None:
    """Measures, writes the result and the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=grammar_workloads.SAMPLE)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--schemas", type=int, default=400)
    parser.add_argument("--requests", type=int, default=10, help="tool requests a count")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    parser.add_argument("--engines", nargs="+", choices=grammar_engines.ENGINES[1:])
    parser.add_argument("--beside", nargs="+", metavar="ENGINE=PROCESSES", default=[])
    parser.add_argument("--seconds", type=float, default=10.0, help="time limit of one job")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="grammar", help="of the files in benchmarks/results")
    parser.add_argument("--redraw", action="store_true", help="only draw the stored result")
    args = parser.parse_args()
    if args.redraw:
        figures = json.loads((RESULTS / f"{args.name}.json").read_text("utf-8"))
        print(*grammar_summary.pictures(figures, RESULTS, args.name))
        return
    wanted = ("treadle", *(args.engines or grammar_engines.ENGINES[1:]))
    engines = {engine: version for engine in wanted if (version := grammar_engines.version(engine))}
    for engine in set(wanted) - set(engines):
        print(f"{engine} is not installed and left out", file=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.tokenizer or default_tokenizer(Path(scratch))
        figures = measure(args, engines, folder)
    path = write(args.name, figures)
    show(figures)
    print(path, *grammar_summary.pictures(figures, RESULTS, args.name))


def measure(args: argparse.Namespace, engines: dict[str, str], folder: Path) -> dict[str, Any]:
    """Runs the workloads."""
    tokenizer = Tokenizer.from_json(folder / "tokenizer.json")
    workloads, about = make_jobs(args)
    lanes = {name: int(count) for name, _, count in (x.partition("=") for x in args.beside)}
    load = os.getloadavg()[0]
    begin = time.monotonic()
    results: dict[str, Any] = {}
    memories: dict[str, Any] = {}
    floors: dict[str, float] = {}
    for name, jobs in workloads.items():
        # Fresh processes a workload: what one leaves in caches does not help the next.
        workers = {engine: [Worker(engine, folder) for _ in range(lanes.get(engine, 1))]
                   for engine in engines}  # fmt: skip
        first = {engine: several[0] for engine, several in workers.items()}
        try:
            floors = {engine: worker.hello["floor_ns"] for engine, worker in first.items()}
            if lanes:
                jobs, answers = run_beside(name, jobs, workers, tokenizer, args.seconds)
            else:
                jobs, answers = run(name, jobs, first, tokenizer, args.seconds)
            results[name] = summarise(name, jobs, answers, floors, args.seconds)
            memories[name] = {
                engine: memory(worker, answers[engine][:: len(workers[engine])])
                for engine, worker in first.items()
            }
        finally:
            for several in workers.values():
                for worker in several:
                    worker.stop()
    digest = hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
    return {
        "benchmark": "bench_grammar",
        "seed": args.seed,
        "time_limit_s": args.seconds,
        "processes": lanes or "alternating",
        "data": {"name": args.data.name, **about},
        "tokenizer": {"size": tokenizer.vocab_size, "sha256": digest},
        "workloads": results,
        "resident_mib": memories,
        "clock_floor_us": {engine: round(ns / 1e3, 3) for engine, ns in floors.items()},
        "took_s": round(time.monotonic() - begin),
        "load_at_start": round(load, 2),
        "machine": machine(),
        "versions": {**engines, **versions("tokenizers")},
    }


if __name__ == "__main__":
    main()
