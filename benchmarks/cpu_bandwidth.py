"""Decode's share of memory bandwidth on the CPU: bytes of weights a token against a plain read.

A read of a buffer as large as the weights, by as many native threads and with the prefetches of the
products, alternates with decode round by round. Weights count once a token as they lie packed in
memory; KV pages and activations are left out, so the share is a lower bound.

    python benchmarks/cpu_synthetic.py build/llama-1b.gguf
    python benchmarks/cpu_bandwidth.py build/llama-1b.gguf [--threads 1 2] [--rounds 7]
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from cpu_decode import Peer
from machine import machine, spread, versions, write

from treadle import _core
from treadle.backends.mega.plans import buckets
from treadle.backends.mega.weights import packed_bytes
from treadle.backends.params import tensor_of
from treadle.limits import Limits
from treadle.mega.records import NONE, Code
from treadle.models import load


def bytes_a_token(source: str) -> int:
    """Packed bytes of every weight that a step of one token multiplies with."""
    model = load(source, act="f32", page=16, limits=Limits(), progress=False)
    (bucket,) = buckets(model.graph, threads=1, tokens=1, slots=1, context=512)
    names = [*model.graph.params]
    used = {
        weight
        for site in bucket.plan.sites
        if site.op in (Code.LINEAR, Code.EXPERTS_UP, Code.EXPERTS_DOWN)
        for weight in site.w
        if weight != NONE
    }
    tensors = [tensor_of(model.graph, model.weights, names[i]) for i in used]
    return sum(packed_bytes(tensor) for tensor in tensors)


class Reader:
    """Threads that each read their part of one buffer."""

    def __init__(self, size: int, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads)
        data = np.asarray(_core.cpu_buffer(size))
        self._parts = list(np.array_split(data, threads))
        list(self._pool.map(lambda part: part.fill(1), self._parts))  # its reader touches it first
        self._isa = _core.cpu_isas()[-1]

    def rate(self, times: int = 3) -> float:
        """Bytes a second of all threads together."""
        begin = time.perf_counter()
        list(self._pool.map(lambda part: _core.cpu_read(self._isa, part, times), self._parts))
        took = time.perf_counter() - begin
        return times * sum(part.nbytes for part in self._parts) / took


def measure(args: argparse.Namespace, threads: int, token: int) -> dict[str, Any]:
    """Rates of both, round by round after a warm-up."""
    given = ["--answer", "--model", args.model, "--backend", "mega", "--threads", str(threads)]
    decode = Peer(sys.executable, str(args.peer), *given)
    reader = Reader(max(token, 256 << 20), threads)
    rng = np.random.default_rng(args.seed)
    rates: list[float] = []
    reads: list[float] = []
    try:
        for index in range(args.rounds + 1):
            ids = rng.integers(1000, 40_000, 16).tolist()
            before = reader.rate()
            made = args.tokens / decode(ids=ids, tokens=args.tokens)["decode_s"]
            read = (before + reader.rate()) / 2
            if index:
                rates.append(made)
                reads.append(read)
                said = f"{made:.2f} tokens/s, read {read / 1e9:.2f} GB/s"
                share = made * token / read
                print(f"round {index}: {said}: {share:.1%}", file=sys.stderr, flush=True)
    finally:
        decode.close()
    shares = [made * token / read for made, read in zip(rates, reads, strict=True)]
    return {
        "decode_tok_s": spread(rates, 2),
        "read_gb_s": spread([read / 1e9 for read in reads], 2),
        "share": spread(shares),
    }


def main() -> None:
    """Measures each number of threads and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="cpu_bandwidth", help="of the file in benchmarks/results")
    args = parser.parse_args()
    args.peer = __file__.replace("cpu_bandwidth", "cpu_decode")
    token = bytes_a_token(args.model)
    figures = {
        "what": f"greedy decode of {args.tokens} tokens, one sequence, against a plain read",
        "model": args.model.rpartition("/")[2],
        "weight_mb_a_token": round(token / 1e6, 1),
        "threads": {str(n): measure(args, n, token) for n in args.threads},
        "isa": _core.cpu_isas()[-1],
        "seed": args.seed,
        "machine": machine(),
        "versions": versions("numpy"),
    }
    path = write(args.name, figures)
    for threads, row in figures["threads"].items():
        print(f"{path}: {threads} threads: {row['share']['median']:.1%} of the read")


if __name__ == "__main__":
    main()
