"""Masks in node's WebAssembly against the native core: the same grammars, tokens and vocabulary.

    make test-web && python benchmarks/bench_wasm_masks.py [--tokenizer DIR] [--rounds 5]

Cold fills meet each state for the first time, warm ones find their masks stored. Each round has a
fresh compiler over one vocabulary; a fill is timed where it is called, so it includes the binding
and, in wasm, the copy of the row out of the module's memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine, versions, write

from treadle.grammar import Compiler, Grammar, Matcher, Vocab, mask_rows
from treadle.models.gguf import GgufFile
from treadle.models.sources import locate
from treadle.text import Tokenizer
from treadle.types import TokenTable

ROOT = Path(__file__).parents[1]
WASM = ROOT / "build" / "wasm" / "core.wasm"
SCRIPT = ROOT / "web" / "build" / "bench" / "fills.js"
PERSON = json.loads((ROOT / "examples" / "person.schema.json").read_text())
TREE = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "children": {"type": "array", "items": {"$ref": "#"}},
    },
    "required": ["name"],
}
PARTS = ("cold", "warm")
SQL = r"""root ::= "SELECT " list " FROM " name (" WHERE " test (" AND " test)*)? ";"
list ::= name (", " name)*
test ::= name " " ("=" | "<" | ">") " " ([0-9]+ | "'" [^']* "'")
name ::= [a-z_]+
"""
# Name, grammar, and a text of its language.
WORKLOADS: list[tuple[dict[str, Any], str]] = [
    (
        {"name": "schema", "schema": PERSON},
        '{"name": "Ada Lovelace", "age": 36, "skills": ["mathematics", "writing of programs"]}',
    ),
    (
        {"name": "recursive schema", "schema": TREE},
        '{"name": "root of all", "children": [{"name": "left", "children": []}, {"name": "b"}]}',
    ),
    (
        {"name": "ebnf", "ebnf": SQL},
        "SELECT first_name, age FROM sailors WHERE age > 36 AND port = 'Port of Spain';",
    ),
]


def grammar_of(workload: dict[str, Any]) -> Grammar:
    """The grammar of a workload."""
    if "schema" in workload:
        return Grammar.json_schema(workload["schema"])
    return Grammar.ebnf(workload["ebnf"])


def pack(table: TokenTable) -> bytes:
    """The vocabulary as vocab.bin (docs/web.md)."""
    stops, text = table.stop_ids, b"".join(table.data)
    head = [0x31565254, len(table.data), 0, len(stops), len(text), *stops]
    words = [*head, *map(len, table.data)]
    return struct.pack(f"<{len(words)}I", *words) + bytes(table.kinds) + text


def native(compiler: Compiler, workload: dict[str, Any]) -> dict[str, list[float]]:
    """Microseconds of each cold and each warm fill."""
    rows = mask_rows(1, compiler.vocab.size)
    matcher: Matcher = compiler.compile(grammar_of(workload)).matcher()
    times: dict[str, list[float]] = {"cold": [], "warm": []}
    for part in times.values():
        matcher.reset()
        for token in workload["tokens"]:
            start = time.perf_counter()
            matcher.fill(rows, 0)
            part.append((time.perf_counter() - start) * 1e6)
            assert matcher.accept(token)
    return times


def in_node(vocab: Path, workload: dict[str, Any], rounds: int) -> dict[str, Any]:
    """The same in a fresh node, for all rounds."""
    job = {"wasm": str(WASM), "vocab": str(vocab), "rounds": rounds, "workloads": [workload]}
    path = vocab.with_name("job.json")
    path.write_text(json.dumps(job))
    out = subprocess.run(
        ["node", str(SCRIPT), str(path)], check=True, capture_output=True, text=True
    )
    return json.loads(out.stdout)


def figures(rounds: list[list[float]], name: str) -> dict[str, float]:
    """A mean fill of the first round; of the others (each step by its least) median, mean, most.

    In the first round the engine of JavaScript still compiles, and both build slices of the trie.
    The least, because a fill takes microseconds and a machine that others use stops it for more.
    """
    steps = [min(step) for step in zip(*rounds[1:], strict=True)]
    return {
        f"{name}_first_round_mean_us": round(statistics.mean(rounds[0]), 2),
        f"{name}_median_us": round(statistics.median(steps), 2),
        f"{name}_mean_us": round(statistics.mean(steps), 2),
        f"{name}_max_us": round(max(steps), 2),
    }


def main() -> None:
    """Runs both in turns and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tokenizer", type=Path, help="folder or file; default: the embedded model"
    )
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    tokenizer = load(given.tokenizer)
    vocab = Vocab(tokenizer.table)
    results: dict[str, Any] = {"vocabulary": vocab.size, "rounds": given.rounds, "workloads": {}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.bin"
        path.write_bytes(pack(tokenizer.table))
        for workload, text in WORKLOADS:
            ids = list(tokenizer.encode(text))
            job = {**workload, "tokens": ids}
            said = in_node(path, job, given.rounds + 1)
            fresh = Vocab(tokenizer.table)
            here = [native(Compiler(fresh), job) for _ in range(given.rounds + 1)]
            times = {
                "native": {part: [round_[part] for round_ in here] for part in PARTS},
                "wasm": said["figures"][workload["name"]],
            }
            row: dict[str, Any] = {
                engine: figures(rounds["cold"], "cold") | figures(rounds["warm"], "warm")
                for engine, rounds in times.items()
            }
            results["wasm_vocab_ms"] = round(said["vocabMs"], 1)
            results["wasm_memory_mib"] = round(said["memoryBytes"] / 2**20, 1)
            row["steps"] = len(ids)
            for part in PARTS:
                ratio = row["wasm"][f"{part}_mean_us"] / row["native"][f"{part}_mean_us"]
                row[f"{part}_ratio"] = round(ratio, 2)
            results["workloads"][workload["name"]] = row
            print(workload["name"], json.dumps(row))
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    results |= {"node": node.stdout.strip(), "wasm_bytes": WASM.stat().st_size}
    name = "wasm_masks" if given.tokenizer is None else f"wasm_masks_{vocab.size}"
    print(write(name, {"machine": machine(), "versions": versions("treadle"), **results}))


def load(source: Path | None) -> Tokenizer:
    """A tokenizer.json, or the embedded model's."""
    if source is not None:
        return Tokenizer.from_json(source / "tokenizer.json" if source.is_dir() else source)
    return Tokenizer.from_gguf(GgufFile.open(locate("smollm2-135m")).metadata)


if __name__ == "__main__":
    main()
