"""What a JSON Schema costs: decode speed with and without one, alternating in one process.

Same prompt, same number of tokens: the schema is an open array, so that it never ends the output
before the token budget does. Also draws 100 answers for examples/person.schema.json at
temperature 1 and validates each with `jsonschema`.

    python benchmarks/bench_structured.py [--rounds 7] [--tokens 64] [--seeds 100]
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
from machine import machine, spread, versions, write

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


def rate(llm: LLM, tokens: int, seed: int, schema: object) -> float:
    """Tokens a second after the first."""
    sampling = Sampling(max_tokens=tokens, ignore_eos=schema is None, seed=seed)
    options = {} if schema is None else {"schema": schema}
    marks: list[float] = []
    for delta in llm.stream_chat(PROMPT, sampling=sampling, **options):
        marks += [time.perf_counter()] * len(delta.token_ids)
    return (len(marks) - 1) / (marks[-1] - marks[0])


def valid_share(llm: LLM, seeds: int) -> tuple[int, int]:
    """How many answers were complete and validate, and how many were cut by the token budget.

    Raises ValidationError for an answer that is complete and wrong: no such thing may exist.
    """
    schema = json.loads(PERSON.read_text())

    def answer(seed: int) -> bool:
        sampling = Sampling(temperature=1.0, seed=seed, max_tokens=400)
        out = llm.chat("Invent a sailor.", schema=schema, sampling=sampling)
        if out.finish_reason != "stop":
            print(f"seed {seed}: {out.finish_reason} after {out.text!r}")
            return False
        jsonschema.validate(json.loads(out.text), schema)
        return True

    with ThreadPoolExecutor(TOGETHER) as pool:
        complete = sum(pool.map(answer, range(seeds)))
    return complete, seeds - complete


def main() -> None:
    """Measures and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    plain, structured = [], []
    with LLM(MODEL, backend="torch", device="cpu", threads=args.threads) as llm:
        for index in range(args.rounds + 1):
            fresh = {**OPEN, "title": f"rivers {index}"}  # a new schema each time
            pair = rate(llm, args.tokens, index, None), rate(llm, args.tokens, index, fresh)
            print(f"round {index}: plain {pair[0]:.2f}, structured {pair[1]:.2f} tokens/s")
            if index:  # the first round warms up
                plain.append(pair[0])
                structured.append(pair[1])
        valid, cut = valid_share(llm, args.seeds)
    overhead = [100 * (a / b - 1) for a, b in zip(plain, structured, strict=True)]
    figures = {
        "what": "decode with a JSON Schema against without, batch 1",
        "model": MODEL,
        "plain_tok_s": spread(plain),
        "structured_tok_s": spread(structured),
        "overhead_percent": spread(overhead, 2),
        "valid": {"seeds": args.seeds, "valid": valid, "cut_by_max_tokens": cut},
        "threads": args.threads,
        "machine": machine(),
        "versions": versions("torch", "numpy", "jsonschema"),
    }
    median = figures["overhead_percent"]["median"]
    print(f"{write('structured_cpu', figures)}: {median} % overhead, {valid}/{args.seeds} valid")


if __name__ == "__main__":
    main()
