"""Throughput of the mega backend on the CPU: batches against one sequence, JSON against free text.

Rounds alternate inside one process, so that both sides see the same machine.

    python benchmarks/cpu_batch.py batch [--sequences 8]
    python benchmarks/cpu_batch.py structured
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from typing import Any

import numpy as np
from bench_structured import OPEN, PROMPT
from machine import machine, spread, versions, write

from treadle import LLM, Sampling


def together(llm: LLM, sequences: int, tokens: int, seed: int) -> float:
    """Tokens a second of all sequences, from when the last has begun to when the first ends."""
    rng = np.random.default_rng(seed)
    prompts = rng.integers(1000, 40_000, (sequences, 16)).tolist()
    marks: list[list[float]] = [[] for _ in prompts]
    sampling = Sampling(temperature=0.0, max_tokens=tokens, ignore_eos=True)

    def run(index: int) -> None:
        for delta in llm.stream(prompts[index], sampling=sampling):
            marks[index] += [time.perf_counter()] * len(delta.token_ids)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(sequences)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    begin, end = max(row[0] for row in marks), min(row[-1] for row in marks)
    made = sum(begin < mark <= end for row in marks for mark in row)
    return made / (end - begin)


def batch(llm: LLM, args: argparse.Namespace) -> dict[str, Any]:
    """One sequence against several."""
    one: list[float] = []
    many: list[float] = []
    for index in range(args.rounds + 1):
        pair = (
            together(llm, 1, args.tokens, 2 * index),
            together(llm, args.sequences, args.tokens, 2 * index + 1),
        )
        if index:
            one.append(pair[0])
            many.append(pair[1])
            said = f"1: {pair[0]:.1f}, {args.sequences}: {pair[1]:.1f} tokens/s"
            print(f"round {index}: {said}, {pair[1] / pair[0]:.2f}x", file=sys.stderr)
    ratio = spread([b / a for a, b in zip(one, many, strict=True)])
    print(f"{args.sequences} sequences: {ratio['median']}x the tokens/s of one")
    return {
        "what": f"decode tokens/s of {args.sequences} sequences against one",
        "one_tok_s": spread(one, 1),
        "batch_tok_s": spread(many, 1),
        "ratio": ratio,
    }


def structured(llm: LLM, args: argparse.Namespace) -> dict[str, Any]:
    """Free text against an open array of objects; a new schema each round, and one repeated."""
    rates: dict[str, list[float]] = {"free": [], "new_schema": [], "same_schema": []}
    for index in range(args.rounds + 1):
        schemas = {
            "free": None,
            "new_schema": {**OPEN, "title": f"rivers {index}"},
            "same_schema": OPEN,
        }
        order = list(schemas) if index % 2 else list(schemas)[::-1]
        found = {name: _rate(llm, args.tokens, index, schemas[name]) for name in order}
        if index:
            for name, rate in found.items():
                rates[name].append(rate)
            said = ", ".join(f"{name} {rate:.1f}" for name, rate in found.items())
            print(f"round {index}: tokens/s: {said}", file=sys.stderr)
    over = {
        name: spread(
            [100 * (a / b - 1) for a, b in zip(rates["free"], rates[name], strict=True)], 2
        )
        for name in ("new_schema", "same_schema")
    }
    print(", ".join(f"{name}: {row['median']} % slower" for name, row in over.items()))
    return {
        "what": "decode under a JSON Schema against free text, one sequence, temperature 1",
        "tok_s": {name: spread(row, 1) for name, row in rates.items()},
        "overhead_percent": over,
    }


def _rate(llm: LLM, tokens: int, seed: int, schema: object) -> float:
    sampling = Sampling(max_tokens=tokens, ignore_eos=schema is None, seed=seed, temperature=1.0)
    options: dict[str, Any] = {} if schema is None else {"schema": schema}
    marks: list[float] = []
    for delta in llm.stream_chat(PROMPT, sampling=sampling, **options):
        marks += [time.perf_counter()] * len(delta.token_ids)
    return (len(marks) - 1) / (marks[-1] - marks[0])


def main() -> None:
    """Measures one of the two and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=("batch", "structured"))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=64)
    args = parser.parse_args()
    with LLM(args.model, backend="mega", threads=args.threads) as llm:
        figures = (batch if args.which == "batch" else structured)(llm, args)
    figures |= {
        "model": args.model.rpartition("/")[2],
        "threads": args.threads,
        "tokens": args.tokens,
        "machine": machine(),
        "versions": versions("numpy"),
    }
    print(write(f"cpu_{args.which}", figures))


if __name__ == "__main__":
    main()
