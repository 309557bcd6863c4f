"""What grammars cost to keep: memory after 10,000 different schemas, and the time of the import.

One compiler at its default cache bound compiles every schema, walks one instance under masks and
drops the matcher. The schemas are the committed sample with every property name changed, so that
no two share their objects' keys; resident memory is read along the way. The import is timed in
fresh processes, median of 15.

    python benchmarks/bench_grammar_memory.py [--count 10000] [--tokenizer FOLDER]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grammar_workloads
from bench_grammar import default_tokenizer
from grammar_worker import resident
from grammar_workloads import spell
from machine import machine, spread, versions, write

from treadle.errors import TreadleError
from treadle.grammar import Compiler, Grammar, Vocab, mask_rows
from treadle.limits import GrammarLimits
from treadle.text import Tokenizer

READINGS = 40
IMPORTS = 15
WALK = 200  # tokens of an instance that are walked under masks
TIMED = (
    "import time; w = time.perf_counter(); c = time.process_time(); import {}; "
    "print(time.perf_counter() - w, time.process_time() - c)"
)


def renamed(value: Any, mark: str, keys: frozenset[str]) -> Any:
    """An instance, or a schema's required lists and examples, with `keys` carrying the mark."""
    if isinstance(value, dict):
        return {
            key + mark if key in keys else key: renamed(item, mark, keys)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [renamed(item, mark, keys) for item in value]
    return value


def renamed_schema(schema: Any, mark: str, keys: frozenset[str]) -> Any:
    """The schema with every declared property renamed, where it is declared and where required."""
    if isinstance(schema, list):
        return [renamed_schema(item, mark, keys) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties" and isinstance(value, dict):
            value = {name + mark: renamed_schema(item, mark, keys) for name, item in value.items()}
        elif key == "required" and isinstance(value, list):
            value = [name + mark if name in keys else name for name in value]
        elif key in ("enum", "const", "default", "examples"):
            value = renamed(value, mark, keys)
        else:
            value = renamed_schema(value, mark, keys)
        out[key] = value
    return out


def declared(schema: Any) -> Iterator[str]:
    """Every name under a `properties`."""
    inner = schema.values() if isinstance(schema, dict) else schema
    if isinstance(schema, dict) and isinstance(schema.get("properties"), dict):
        yield from schema["properties"]
    if isinstance(schema, dict | list):
        for value in inner:
            yield from declared(value)


def variants(entries: list[dict[str, Any]], count: int) -> Iterator[tuple[Any, Any]]:
    """`count` different schemas with an instance of each, or None where the entry has none."""
    named = [(entry, frozenset(declared(entry["schema"]))) for entry in entries]
    named = [(entry, keys) for entry, keys in named if keys]
    for number in range(count):
        entry, keys = named[number % len(named)]
        mark = f"_{number // len(named)}" if number >= len(named) else ""
        good = [test["data"] for test in entry["tests"] if test["valid"]]
        instance = renamed(good[0], mark, keys) if good else None
        yield renamed_schema(entry["schema"], mark, keys), instance


def keep(args: argparse.Namespace, tokenizer: Tokenizer) -> dict[str, Any]:
    """Compiles and walks; returns readings of resident memory and what failed."""
    vocab = Vocab(tokenizer.table)
    compiler = Compiler(vocab)
    rows = mask_rows(1, vocab.size)
    entries = grammar_workloads.read_entries(args.data)
    gc.collect()
    begin = resident()
    readings: list[list[float]] = []
    counts = {"compiled": 0, "refused": 0, "failed": 0, "walked": 0, "masks": 0, "cut": 0}
    clock = time.monotonic()
    for number, (schema, instance) in enumerate(variants(entries, args.count), start=1):
        try:
            matcher = compiler.compile(Grammar.json_schema(schema)).matcher()
        except TreadleError:
            counts["refused"] += 1
            continue
        counts["compiled"] += 1
        try:
            ids = [] if instance is None else tokenizer.encode(spell(instance))[:WALK]
            for token in ids:
                matcher.fill(rows)
                counts["masks"] += 1
                if not matcher.accept(token):
                    counts["cut"] += 1  # a renamed name was also part of a pattern or a reference
                    break
            counts["walked"] += bool(ids)
        except TreadleError:
            counts["failed"] += 1
        if number % max(1, args.count // READINGS) == 0:
            mib, held = resident() / 2**20, compiler.memory / 2**20
            readings.append([number, round(mib, 1), round(held, 1)])
            print(
                f"{number}/{args.count}: {mib:.0f} MiB resident, {held:.0f} by the compiler's "
                f"count, {time.monotonic() - clock:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    final = resident()
    compiler.clear()
    gc.collect()
    return {
        **counts,
        "cache_bytes": GrammarLimits().cache_bytes,
        "resident_mib": {
            "before": round(begin / 2**20, 1),
            "after": round(final / 2**20, 1),
            "most": max(row[1] for row in readings),
            "cleared": round(resident() / 2**20, 1),
        },
        "readings": {"columns": ["schemas", "resident MiB", "compiler MiB"], "rows": readings},
    }


def imports() -> dict[str, Any]:
    """Milliseconds of `import treadle.grammar` in fresh processes, on the wall and of CPU time."""
    wall: list[float] = []
    spent: list[float] = []
    # As installed: compiled to bytecode, which a first run writes.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", TIMED.format("treadle.grammar")]
    subprocess.run(command, capture_output=True, check=True, env=environment)
    for _ in range(IMPORTS):
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        times = [float(word) * 1e3 for word in done.stdout.split()]
        wall.append(times[0])
        spent.append(times[1])
    return {"wall": spread(wall, 2), "cpu": spread(spent, 2)}


def main() -> None:
    """Measures and writes the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=grammar_workloads.SAMPLE)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--name", default="grammar_memory")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.tokenizer or default_tokenizer(Path(scratch))
        tokenizer = Tokenizer.from_json(folder / "tokenizer.json")
    figures = {
        "benchmark": "bench_grammar_memory",
        "schemas": args.count,
        "data": args.data.name,
        "tokens": tokenizer.vocab_size,
        **keep(args, tokenizer),
        "import_ms": imports(),
        "machine": machine(),
        "versions": versions("tokenizers"),
    }
    path = write(args.name, figures)
    print(json.dumps({key: figures[key] for key in ("resident_mib", "compiled", "refused")}))
    print(path, "import median", figures["import_ms"]["wall"]["median"], "ms")


if __name__ == "__main__":
    main()
