"""What jump-forward gains: answers whose schema forces most of their text against free text.

Each round draws answers for a form with long keys and fixed words, with jump-forward and without,
and free text of exactly as many tokens; the ratio is of the milliseconds an answer takes from its
prompt to its last token. All three alternate in one process.

    python benchmarks/bench_jump_forward.py [--rounds 7] [--batch 1 16]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from machine import machine, spread, versions, write
from streams import answers

from treadle import LLM, Sampling

MODEL = "smollm2-135m"
PROMPT = "Report a broken dishwasher."
FORM = {
    "type": "object",
    "properties": {
        "document_type": {"const": "customer service request, second edition"},
        "customer_is_satisfied_with_product": {"type": "boolean"},
        "preferred_method_of_communication": {"enum": ["telephone", "electronic mail", "letter"]},
        "number_of_previous_requests": {"type": "integer", "minimum": 0, "maximum": 99},
        "request_concerns_warranty": {"type": "boolean"},
        "general_terms_and_conditions": {
            "const": "The customer agrees to the general terms and conditions of the manufacturer."
        },
    },
    "additionalProperties": False,
}
FORM["required"] = list(FORM["properties"])  # type: ignore[arg-type]


def milliseconds(
    llm: LLM, samplings: list[Sampling], options: dict[str, Any]
) -> tuple[float, list[int]]:
    """How long these answers took together, each by its share, and how many tokens they have."""
    start = time.perf_counter()
    read = answers(llm, PROMPT, samplings, options)
    took = time.perf_counter() - start
    return 1e3 * took / len(samplings), [len(marks) for marks in read]


def gain(jumping: LLM, plain: LLM, batch: int, rounds: int) -> dict[str, Any]:
    """The three kinds of answers in turn, after a round that warms up."""
    took: dict[str, list[float]] = {"jump": [], "drawn": [], "free": []}
    tokens: dict[str, list[float]] = {"jump": [], "drawn": []}
    forced = given = 0
    for index in range(rounds + 1):
        seeds = range(1_000 * index, 1_000 * index + batch)
        bound = [Sampling(max_tokens=400, seed=seed) for seed in seeds]
        before = jumping.stats.forced_tokens, jumping.stats.generation_tokens
        jump, lengths = milliseconds(jumping, bound, {"schema": FORM})
        after = jumping.stats.forced_tokens, jumping.stats.generation_tokens
        drawn, lengths_drawn = milliseconds(plain, bound, {"schema": FORM})
        same = [
            Sampling(max_tokens=length, ignore_eos=True, seed=seed)
            for seed, length in zip(seeds, lengths, strict=True)
        ]
        free, _ = milliseconds(plain, same, {})
        print(
            f"batch {batch}, round {index}: jump {jump:.0f}, drawn {drawn:.0f}, free {free:.0f} "
            f"ms an answer of {sum(lengths) / batch:.0f} tokens"
        )
        if index == 0:
            continue
        forced += after[0] - before[0]
        given += after[1] - before[1]
        for name, value in (("jump", jump), ("drawn", drawn), ("free", free)):
            took[name].append(value)
        tokens["jump"].append(sum(lengths) / batch)
        tokens["drawn"].append(sum(lengths_drawn) / batch)
    ratio = [b / a for a, b in zip(took["jump"], took["free"], strict=True)]
    return {
        "ms_an_answer": {name: spread(values, 1) for name, values in took.items()},
        "tokens_an_answer": {name: spread(values, 1) for name, values in tokens.items()},
        "forced_share": round(forced / given, 3),
        "free_over_jump": spread(ratio),
    }


def main() -> None:
    """Measures and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="jump_forward_cpu")
    args = parser.parse_args()
    options = {"backend": "torch", "device": "cpu", "threads": args.threads}
    with LLM(MODEL, **options) as jumping, LLM(MODEL, jump_forward=False, **options) as plain:
        batches = {str(batch): gain(jumping, plain, batch, args.rounds) for batch in args.batch}
    figures = {
        "what": "answers of a schema that forces most of their text, with jump-forward, without, "
        "and free text of as many tokens",
        "model": MODEL,
        "batch": batches,
        "threads": args.threads,
        "machine": machine(),
        "versions": versions("torch", "numpy"),
    }
    medians = {batch: found["free_over_jump"]["median"] for batch, found in batches.items()}
    print(f"{write(args.name, figures)}: free text over jump-forward, by batch {medians}")


if __name__ == "__main__":
    main()
