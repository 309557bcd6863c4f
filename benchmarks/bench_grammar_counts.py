"""Instructions of the hot path of masks, counted by callgrind: the same on a busy machine.

Counts are of one call through the public API in a process that does nothing else, less what the
brackets themselves cost. "hit": the mask is known; "miss": it is computed for the first time. The
slices of common classes are made before, by a first grammar, as in a running server. A Python
method that does nothing is listed for comparison. Cycles are not modelled, only instructions.

    python benchmarks/bench_grammar_counts.py [--tokenizer FOLDER]

Needs valgrind with its headers and a C compiler (apt-get install valgrind gcc); without them it
says so and writes nothing.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARKS = """
#include <valgrind/callgrind.h>
void counts_begin(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void counts_end(const char* name) { CALLGRIND_DUMP_STATS_AT(name); CALLGRIND_STOP_INSTRUMENTATION; }
"""
TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)
NAME = re.compile(r"^desc: Trigger: Client Request: (.+)$", re.MULTILINE)
SAILOR = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0},
        "rank": {"enum": ["captain", "mate", "cook"]},
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]{1,20}$"}},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
# A state by name: what has been written of a sailor when the mask is asked for.
STATES = {
    "key of a closed object": b'{"',
    "inside a string": b'{"name": "Ada',
    "inside a number": b'{"age": 4',
    "inside a pattern": b'{"tags": ["ab',
}
TOOL = {"type": "tag", "begin": "<call=sail>", "end": "</call>",
        "content": {"type": "json_schema", "json_schema": SAILOR}}  # fmt: skip
TAGS = {"type": "triggered_tags", "triggers": ["<call="], "tags": [TOOL]}


def subject(table_file: str, schema_file: str, marks_file: str) -> None:
    """The measured process: every operation once, bracketed."""
    from treadle.grammar import Compiler, Grammar, Vocab, mask_rows
    from treadle.types import TokenKind, TokenTable

    marks = ctypes.CDLL(marks_file)
    stored = json.loads(Path(table_file).read_text("utf-8"))
    table = TokenTable(
        tuple(text.encode("latin-1") for text in stored["data"]),
        tuple(map(TokenKind, stored["kinds"])),
        tuple(stored["stops"]),
    )
    schema = Path(schema_file).read_text("utf-8")
    vocab = Vocab(table)
    rows = mask_rows(1, vocab.size)

    def count(name: str, call: Callable[[], Any]) -> Any:
        label = name.encode()
        marks.counts_begin()
        out = call()
        marks.counts_end(label)
        return out

    class Nothing:
        def call(self, _: object) -> None:
            """Nothing."""

    for _ in range(4):  # the first calls through ctypes cost more; the last one counts
        count("brackets", lambda: None)
    count("empty method", lambda: Nothing().call(rows))

    def warmed() -> Compiler:
        """A fresh compiler that has met strings: what one state left must not help another."""
        made = Compiler(vocab)
        warm = {"type": "array", "items": {"type": "string"}}
        matcher = made.compile(Grammar.json_schema(warm)).matcher()
        for text in (b"", b'["', b'a b c \xc3\xa9 \\u00e9 "', b', "x'):
            matcher.accept_bytes(text)
            for _ in range(3):
                matcher.fill(rows)
        return made

    compiler = warmed()
    compiled = count(
        "compile, median schema", lambda: compiler.compile(Grammar.json_schema(schema))
    )
    count("first mask, median schema", lambda: compiled.matcher().fill(rows))
    count("compile, again", lambda: compiler.compile(Grammar.json_schema(schema)))
    for name, text in STATES.items():
        matcher = warmed().compile(Grammar.json_schema(SAILOR)).matcher()
        assert matcher.accept_bytes(text), name
        count(f"mask, miss: {name}", lambda m=matcher: m.fill(rows))
        count(f"mask, hit: {name}", lambda m=matcher: m.fill(rows))
    matcher = compiler.compile(Grammar.tag(TAGS)).matcher()
    assert matcher.accept_bytes(b"Let me see. ")
    count("mask, miss: free text before a call", lambda: matcher.fill(rows))
    count("mask, hit: free text before a call", lambda: matcher.fill(rows))
    other = json.loads(json.dumps(TAGS).replace("<call=", "<tool="))
    another = compiler.compile(Grammar.tag(other)).matcher()
    assert another.accept_bytes(b"Let me see. ")
    count("mask, miss: free text, another trigger", lambda: another.fill(rows))
    token = next(i for i, data in enumerate(table.data) if data == b"a")
    count("accept, after a mask", lambda: matcher.accept(token))
    matcher.rollback(1)
    count("accept, again", lambda: matcher.accept(token))
    count("rollback", lambda: matcher.rollback(1))
    count("fork", matcher.fork)


def median_schema(path: Path) -> str:
    """The schema of median length among those that compile."""
    from grammar_workloads import read_entries

    from treadle.errors import TreadleError
    from treadle.grammar import Grammar

    good: list[str] = []
    for entry in read_entries(path):
        text = json.dumps(entry["schema"])
        try:
            Grammar.json_schema(text)
        except TreadleError:
            continue
        good.append(text)
    return sorted(good, key=len)[len(good) // 2]


def missing() -> str | None:
    """What keeps the counts from being taken."""
    if shutil.which("valgrind") is None:
        return "valgrind is not installed (apt-get install valgrind)"
    if shutil.which("cc") is None:
        return "there is no C compiler (apt-get install gcc)"
    return None


def counts(tokenizer: Any, schema: str, scratch: Path) -> dict[str, int]:
    """Instructions by operation."""
    source, library = scratch / "marks.c", scratch / "marks.so"
    source.write_text(MARKS)
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    table = tokenizer.table
    stored = {
        "data": [data.decode("latin-1") for data in table.data],
        "kinds": [int(kind) for kind in table.kinds],
        "stops": list(table.stop_ids),
    }
    (scratch / "table.json").write_text(json.dumps(stored), encoding="utf-8")
    (scratch / "schema.json").write_text(schema, encoding="utf-8")
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no"]
    command += [f"--callgrind-out-file={scratch}/out", sys.executable, __file__, "--subject"]
    command += [str(scratch / "table.json"), str(scratch / "schema.json"), str(library)]
    settings = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=settings, check=False)
    if done.returncode:
        raise SystemExit(f"the measured process failed:\n{done.stderr[-2000:]}")
    found: dict[str, int] = {}
    dumps = [path for path in scratch.glob("out.*") if path.suffix[1:].isdigit()]
    for dump in sorted(dumps, key=lambda path: int(path.suffix[1:])):
        text = dump.read_text()
        name, total = NAME.search(text), TOTALS.search(text)
        if name and total:
            found[name[1]] = int(total[1])
    brackets = found.pop("brackets")
    return {name: value - brackets for name, value in found.items()}


def main() -> None:
    """Counts and writes the result."""
    from bench_grammar import default_tokenizer
    from grammar_workloads import SAMPLE
    from machine import machine, versions, write

    from treadle.text import Tokenizer

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=SAMPLE)
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--name", default="grammar_counts")
    args = parser.parse_args()
    reason = missing()
    if reason:
        print(f"bench_grammar_counts is skipped: {reason}", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.tokenizer or default_tokenizer(Path(scratch))
        tokenizer = Tokenizer.from_json(folder / "tokenizer.json")
        schema = median_schema(args.data)
        found = counts(tokenizer, schema, Path(scratch))
    for name, value in found.items():
        print(f"{value:>14,}  {name}")
    valgrind = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True)
    figures = {
        "benchmark": "bench_grammar_counts",
        "instructions": found,
        "median_schema_bytes": len(schema),
        "tokens": tokenizer.vocab_size,
        "machine": machine(),
        "versions": {"valgrind": valgrind.stdout.strip(), **versions("tokenizers")},
    }
    print(write(args.name, figures))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--subject"]:
        subject(*sys.argv[2:5])
    else:
        main()
