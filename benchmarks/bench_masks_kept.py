"""What masks that are kept between processes are worth: `Compiler(vocab, masks=folder)`.

One process walks schemas under masks and saves; then processes with and without that folder walk
the same schemas, and others, in turns. CPU time of the thread, medians over the rounds.

    python benchmarks/bench_masks_kept.py [--data FOLDER] [--tokenizer FOLDER] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import grammar_workloads
from bench_grammar import default_tokenizer
from grammar_workloads import spell
from machine import machine, spread, versions, write

from treadle.errors import TreadleError
from treadle.grammar import Compiler, Grammar, Vocab, mask_rows
from treadle.text import Tokenizer

SCHEMAS = 100  # a process
WALK = 200  # tokens of an instance
SETS = ("same", "others")  # of schemas: those of the process that saved, and as many different ones


def chosen(data: Path, which: str) -> list[tuple[str, Any]]:
    """Schemas with a valid instance each, drawn without replacement; the two sets do not meet."""
    entries = grammar_workloads.read_entries(data)
    random.Random(11).shuffle(entries)
    good = [
        (json.dumps(entry["schema"]), next(t["data"] for t in entry["tests"] if t["valid"]))
        for entry in entries
        if any(test["valid"] for test in entry["tests"])
    ]
    count = min(SCHEMAS, len(good) // 2)
    return good[:count] if which == "same" else good[count : 2 * count]


def child(args: argparse.Namespace) -> None:
    """One process: prints its milliseconds."""
    tokenizer = Tokenizer.from_json(args.tokenizer / "tokenizer.json")
    vocab = Vocab(tokenizer.table)
    jobs = [(schema, tokenizer.encode(spell(data))) for schema, data in chosen(args.data, args.of)]
    rows = mask_rows(1, vocab.size)
    clock = time.thread_time
    begin = clock()
    compiler = Compiler(vocab, masks=args.folder)
    opened = clock()
    masks = 0
    for schema, ids in jobs:
        try:
            matcher = compiler.compile(Grammar.json_schema(schema)).matcher()
            for token in ids[:WALK]:
                matcher.fill(rows)
                masks += 1
                if not matcher.accept(token):
                    break
        except TreadleError:
            continue
    walked = clock()
    size = compiler.save() if args.save else 0
    print(
        json.dumps(
            {
                "recalled": compiler.recalled,
                "masks": masks,
                "open_ms": (opened - begin) * 1e3,
                "walk_ms": (walked - opened) * 1e3,
                "save_ms": (clock() - walked) * 1e3,
                "bytes": size,
            }
        )
    )


def run(args: argparse.Namespace, of: str, folder: str | None, save: bool = False) -> Any:
    """The figures of one process."""
    command = [sys.executable, __file__, "--of", of, "--data", args.data]
    command += ["--tokenizer", args.tokenizer]
    command += ["--folder", folder] if folder else []
    command += ["--save"] if save else []
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return json.loads(done.stdout)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Rounds of processes, each set with the folder and without it, in turns."""
    times: dict[str, dict[str, list[float]]] = {
        of: {"kept": [], "none": [], "open": []} for of in SETS
    }
    with tempfile.TemporaryDirectory() as folder:
        first = run(args, "same", folder, save=True)
        for number in range(args.rounds):
            for of in SETS:
                for use in ("kept", "none") if number % 2 else ("none", "kept"):
                    found = run(args, of, folder if use == "kept" else None)
                    times[of][use].append(found["walk_ms"])
                    if use == "kept":
                        times[of]["open"].append(found["open_ms"])
            print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
    return {
        "entries_bytes": first["bytes"],
        "save_ms": round(first["save_ms"], 1),
        "masks": first["masks"],
        "walk_ms": {of: {use: spread(v, 1) for use, v in times[of].items()} for of in SETS},
    }


def main() -> None:
    """Measures and writes benchmarks/results/masks_kept.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=grammar_workloads.SAMPLE)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--of", choices=SETS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--save", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.of:
        return child(args)
    with tempfile.TemporaryDirectory() as scratch:
        args.tokenizer = args.tokenizer or default_tokenizer(Path(scratch))
        figures = {
            "benchmark": "bench_masks_kept",
            "data": args.data.name,
            **measure(args),
            "machine": machine(),
            "versions": versions("tokenizers"),
        }
    path = write("masks_kept", figures)
    walked = figures["walk_ms"]
    shown = {of: {use: walked[of][use]["median"] for use in walked[of]} for of in SETS}
    print(path, json.dumps(shown))
    return None


if __name__ == "__main__":
    main()
