"""What a JSON Schema costs: decode speed with and without one, alternating in one process.

Same prompt, same number of tokens, 1 and 16 answers at once: the schema is an open array, so that
it never ends the output before the token budget does, and it is another one each time. Jump-forward
is off: what it gains is measured by bench_jump_forward.py. Also draws 100 answers for
examples/person.schema.json at temperature 1 and validates each with `jsonschema`.

    python benchmarks/bench_structured.py [--rounds 7] [--tokens 64] [--batch 1 16] [--seeds 100]
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
from machine import machine, spread, versions, write
from streams import answers, rate

from treadle import LLM, Sampling

MODEL = "smollm2-135m"
PERSON = Path(__file__).parents[1] / "examples" / "person.schema.json"
OPEN = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "size": {"type": "number"}},
        "required": ["name", "size"],
        "additionalProperties": False,
    },
    "minItems": 1_000,
}
TOGETHER = 16  # answers under way at once
PROMPT = "List the rivers of Europe with their lengths as JSON."


def speed(llm: LLM, batch: int, tokens: int, seed: int, schema: object) -> float:
    """Tokens a second of `batch` answers."""
    samplings = [
        Sampling(max_tokens=tokens, ignore_eos=schema is None, seed=seed + i) for i in range(batch)
    ]
    return rate(answers(llm, PROMPT, samplings, {} if schema is None else {"schema": schema}))


def overhead(llm: LLM, batch: int, tokens: int, rounds: int) -> dict[str, Any]:
    """Free and structured decoding in turn, after a round that warms up."""
    plain: list[float] = []
    structured: list[float] = []
    for index in range(rounds + 1):
        fresh = {**OPEN, "title": f"rivers {batch} {index}"}
        free = speed(llm, batch, tokens, 100 * index, None)
        bound = speed(llm, batch, tokens, 100 * index, fresh)
        print(f"batch {batch}, round {index}: plain {free:.2f}, structured {bound:.2f} tokens/s")
        if index:
            plain.append(free)
            structured.append(bound)
    percent = [100 * (a / b - 1) for a, b in zip(plain, structured, strict=True)]
    return {
        "plain_tok_s": spread(plain),
        "structured_tok_s": spread(structured),
        "overhead_percent": spread(percent, 2),
    }


def valid_share(llm: LLM, seeds: int) -> tuple[int, int]:
    """How many answers were complete and validate, and how many were cut by the token budget.

    Raises ValidationError for an answer that is complete and wrong: no such thing may exist.
    """
    schema = json.loads(PERSON.read_text())

    def complete(seed: int) -> bool:
        sampling = Sampling(temperature=1.0, seed=seed, max_tokens=400)
        out = llm.chat("Invent a sailor.", schema=schema, sampling=sampling)
        if out.finish_reason != "stop":
            print(f"seed {seed}: {out.finish_reason} after {out.text!r}")
            return False
        jsonschema.validate(json.loads(out.text), schema)
        return True

    with ThreadPoolExecutor(TOGETHER) as pool:
        count = sum(pool.map(complete, range(seeds)))
    return count, seeds - count


def main() -> None:
    """Measures and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, TOGETHER])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="structured_cpu")
    args = parser.parse_args()
    options = {"backend": "torch", "device": "cpu", "threads": args.threads}
    with LLM(MODEL, jump_forward=False, **options) as llm:
        batches = {
            str(batch): overhead(llm, batch, args.tokens, args.rounds) for batch in args.batch
        }
        fill = llm.stats.mask_fill
        masks = {
            "ms_a_step": round(1e3 * fill.sum / max(fill.total, 1), 4),
            "exposed_seconds": round(llm.stats.mask_exposed_seconds, 3),
        }
        valid, cut = valid_share(llm, args.seeds)
    figures = {
        "what": "decode with a JSON Schema against without, by answers at once",
        "model": MODEL,
        "tokens": args.tokens,
        "batch": batches,
        "masks": masks,
        "valid": {"seeds": args.seeds, "valid": valid, "cut_by_max_tokens": cut},
        "threads": args.threads,
        "machine": machine(),
        "versions": versions("torch", "numpy", "jsonschema"),
    }
    medians = {batch: found["overhead_percent"]["median"] for batch, found in batches.items()}
    print(f"{write(args.name, figures)}: % overhead by batch {medians}, {valid}/{args.seeds} valid")


if __name__ == "__main__":
    main()
