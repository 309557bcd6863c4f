"""`treadle bench decode`: how fast one sequence is prefilled and decoded, through the engine."""

from __future__ import annotations

import json
import random
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from treadle.cli.options import engine_options, note, read_schema
from treadle.config import BenchDecodeConfig, parse
from treadle.engine import LLM
from treadle.errors import InvalidRequest
from treadle.types import Sampling


@dataclass(frozen=True, slots=True)
class Run:
    """Times of one run in seconds, and the tokens it made."""

    first: float
    total: float
    tokens: int


def main(arguments: Sequence[str]) -> int:
    """Measures; with --json the last line is one JSON object."""
    if not arguments or arguments[0] != "decode":
        raise InvalidRequest("there is one benchmark, decode", at="bench", hint="bench decode")
    config = parse(BenchDecodeConfig, arguments[1:], prog="treadle bench decode")
    figures = measure(config)
    if config.json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{name:16} {value}" for name, value in figures.items()))
    return 0


def measure(config: BenchDecodeConfig) -> dict[str, Any]:
    """The figures of the command: medians over `repeat` runs after one warm-up."""
    schema = read_schema(config.schema, "--schema") if config.schema else None
    with LLM(config.model, **engine_options(config)) as llm:
        rng = random.Random(config.seed)
        runs: list[Run] = []
        for index in range(config.repeat + 1):
            # another prompt each time, or the prefix cache would spare the prefill
            prompt = _prompt(llm, config.prompt_tokens, rng)
            run = _run(llm, prompt, config, schema)
            if index:
                runs.append(run)
                note(f"run {index}: {_rate(run):.2f} tokens/s")
        loaded = llm.loaded
        return {
            "prefill_tok_s": _median([config.prompt_tokens / run.first for run in runs]),
            "decode_tok_s": _median([_rate(run) for run in runs]),
            "ttft_ms": _median([run.first * 1e3 for run in runs]),
            "peak_rss_mib": round(_peak_rss(), 1),
            "model": loaded.name,
            "backend": loaded.chosen.backend,
            "device": loaded.chosen.device,
            "threads": loaded.chosen.threads,
            "prompt_tokens": config.prompt_tokens,
            "tokens": runs[0].tokens,
            "structured": schema is not None,
            "decode_tok_s_runs": [round(_rate(run), 2) for run in runs],
            "seed": config.seed,
        }


def _prompt(llm: LLM, length: int, rng: random.Random) -> list[int]:
    table = llm.loaded.table
    plain = [i for i, kind in enumerate(table.kinds) if kind == 0 and table.data[i]]
    return [rng.choice(plain) for _ in range(length)]


def _run(llm: LLM, prompt: list[int], config: BenchDecodeConfig, schema: Any) -> Run:
    options: dict[str, Any] = {} if schema is None else {"schema": schema}
    sampling = Sampling(
        max_tokens=config.tokens, ignore_eos=schema is None, seed=config.seed, temperature=1.0
    )
    start = time.perf_counter()
    first = 0.0
    with llm.stream(prompt, sampling=sampling, **options) as stream:
        for delta in stream:
            if delta.token_ids and not first:
                first = time.perf_counter() - start
    total = time.perf_counter() - start
    return Run(first, total, stream.output.usage.completion_tokens)


def _rate(run: Run) -> float:
    return (run.tokens - 1) / (run.total - run.first) if run.tokens > 1 else 0.0


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 2)


def _peak_rss() -> float:
    """Peak resident memory of the process in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
