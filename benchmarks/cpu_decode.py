"""Decode and prefill of one GGUF on the CPU: treadle's mega backend against llama.cpp.

Same file, same threads, greedy, one sequence; each engine is a process of its own, and they take
turns prompt by prompt. llama.cpp is the prebuilt one of npm's node-llama-cpp, installed on first
use. With several threads the yardstick is its better number of threads: the faster of that many and
of one, since more threads may slow it down. The limit is the time to read the file's weights once
at the bandwidth of a plain read.

    python benchmarks/cpu_decode.py [--model smollm2-135m|FILE.gguf] [--threads 1 2] [--rounds 7]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine, spread, versions, write

from treadle import LLM, Sampling
from treadle.models.sources import locate

PACKAGES = ("node-llama-cpp@3.22.1", "@node-llama-cpp/linux-x64@3.22.1")
HERE = Path(__file__).parent
READ = 256 << 20


class Peer:
    """An engine in a process of its own: a line of JSON in, a line out."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.hello = self._line()

    def __call__(self, **question: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return self._line()

    def close(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args} ended with {self._process.wait()}")
        return json.loads(line)


def answer(model: str, backend: str, threads: int) -> None:
    """Our side of the conversation, until the input ends."""
    with LLM(model, backend=backend, threads=threads) as llm:
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            sampling = Sampling(temperature=0.0, max_tokens=asked["tokens"] + 1, ignore_eos=True)
            begin = time.perf_counter()
            marks: list[float] = []
            made: list[int] = []
            for delta in llm.stream(asked["ids"], sampling=sampling):
                marks += [time.perf_counter()] * len(delta.token_ids)
                made += delta.token_ids
            took = {"prefill_s": marks[0] - begin, "decode_s": marks[-1] - marks[0]}
            print(json.dumps({**took, "ids": made}), flush=True)


def installed(folder: Path) -> Path:
    """node-llama-cpp in `folder`, installed if it is not."""
    if not (folder / "node_modules" / "node-llama-cpp").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}\n')
        words = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
        subprocess.run(words, cwd=folder, check=True, stdout=sys.stderr)
    return folder


def reads(seconds: float = 1.0) -> float:
    """Bytes a second of one thread that sums memory; best of what fits into the time."""
    data = np.ones(READ // 8)
    best, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter()
        data.sum()
        best = max(best, data.nbytes / (time.perf_counter() - begin))
    return best


def race(
    engines: dict[str, Peer], rounds: int, prompt: int, tokens: int, seed: int
) -> dict[str, dict[str, list[float]]]:
    """Tokens a second of prefill and decode, a value a round after a warm-up."""
    rng = np.random.default_rng(seed)
    found = {name: {"prefill": [], "decode": []} for name in engines}
    for index in range(rounds + 1):
        ids = rng.integers(1000, 40_000, prompt).tolist()
        order = list(engines) if index % 2 else list(engines)[::-1]
        for name in order:
            # the length of the prompt decides prefill, a short one leaves decode alone
            long = engines[name](ids=ids, tokens=1)
            short = engines[name](ids=ids[:16], tokens=tokens)
            if index:
                found[name]["prefill"].append(prompt / long["prefill_s"])
                found[name]["decode"].append(tokens / short["decode_s"])
        if index:
            said = ", ".join(
                f"{name} {kinds['decode'][-1]:.1f} / {kinds['prefill'][-1]:.0f}"
                for name, kinds in found.items()
            )
            print(f"round {index}: decode / prefill tokens/s: {said}", file=sys.stderr, flush=True)
    return found


def summary(found: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Spreads, and ratios round by round over the fastest of llama.cpp's rates in that round."""
    ours = found["treadle"]
    peers = [rows for name, rows in found.items() if name != "treadle"]
    ratios = {
        kind: spread(
            [
                a / max(others)
                for a, *others in zip(ours[kind], *(rows[kind] for rows in peers), strict=True)
            ]
        )
        for kind in ours
    }
    kinds = {name: {k: spread(v, 1) for k, v in rows.items()} for name, rows in found.items()}
    return {"tok_s": kinds, "ratio": ratios}


def main() -> None:
    """Races for each number of threads and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--backend", default="mega")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--llama", type=Path, default=HERE.parent / "build" / "llama")
    parser.add_argument("--name", default="cpu_decode", help="of the file in benchmarks/results")
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.answer:
        answer(args.model, args.backend, args.threads[0])
        return
    folder = installed(args.llama.resolve())
    file = locate(args.model)
    by_threads: dict[str, Any] = {}
    for threads in args.threads:
        given = ["--answer", "--model", args.model, "--backend", args.backend]
        engines = {
            "treadle": Peer(sys.executable, __file__, *given, "--threads", str(threads)),
        }
        for count in sorted({1, threads}, reverse=True):
            name = "llama.cpp" if count == threads else f"llama.cpp, {count} thread"
            engines[name] = Peer(
                "node", str(HERE / "llama_peer.mjs"), str(folder), str(file), str(count)
            )
        try:
            by_threads[str(threads)] = summary(
                race(engines, args.rounds, args.prompt, args.tokens, args.seed)
            )
        finally:
            for engine in engines.values():
                engine.close()
    read = reads()
    figures = {
        "what": f"greedy decode of {args.tokens} tokens and prefill of {args.prompt}, one sequence",
        "model": args.model,
        "file_mb": round(file.stat().st_size / 1e6, 1),
        "read_gb_s_one_thread": round(read / 1e9, 2),
        "limit_tok_s_one_thread": round(read / file.stat().st_size, 1),
        "threads": by_threads,
        "seed": args.seed,
        "machine": machine(),
        "versions": {**versions("numpy"), "llama.cpp": PACKAGES[0]},
    }
    path = write(args.name, figures)
    for threads, row in by_threads.items():
        ratios = ", ".join(f"{k} {v['median']}x" for k, v in row["ratio"].items())
        print(f"{path}: {threads} threads, over llama.cpp: {ratios}")


if __name__ == "__main__":
    main()
