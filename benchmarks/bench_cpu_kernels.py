"""Speed of the packed dots, by weight kind and instruction set, against a plain read of the bytes.

    python benchmarks/bench_cpu_kernels.py              # some three minutes, one thread
    python benchmarks/bench_cpu_kernels.py q4_1 q8_0    # these kinds only

For each kind a matrix that lies in memory (about 200 MB) and, at SmolLM2's shapes, one that lies in
the cache. The read uses the same instructions and prefetches as the dot. The two alternate, so that
a neighbour's load falls on both; figures are medians, with their spread, of GB of packed weights a
second, and their ratio. `tile` is a batch of eight rows: how many times the speed of single rows it
gives. Time is the thread's own: what other processes take off the processor does not count, what
they take off the memory bus does.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from typing import Any

import numpy as np
from machine import machine, spread, versions, write
from numpy.typing import NDArray

from treadle import _core

MEMORY = 200_000_000
ROUNDS = 7
SHAPES = {"memory": (2048, 2048), "attention": (576, 576), "down": (576, 1536)}
KINDS = ("q4_1", "q8_0", "q4_0", "q4_k", "q5_k", "q6_k", "bf16", "f16", "f32")


def matrix(kind: str, rows: int, columns: int) -> NDArray[np.uint8]:
    """Packed bytes that are finite in every kind: speed does not depend on values."""
    out = np.asarray(_core.cpu_buffer(_core.cpu_packed_bytes(kind, rows, columns)))
    out[:] = 0x11
    return out


def seconds(work: Any) -> float:
    before = time.thread_time()
    work()
    return time.thread_time() - before


def measure(isa: str, kind: str, rows: int, columns: int, *, memory: bool) -> dict[str, Any]:
    """One row of the table."""
    one = _core.cpu_packed_bytes(kind, rows, columns)
    if memory:
        rows *= MEMORY // one
    packed = matrix(kind, rows, columns)
    times = max(1, (MEMORY // 4) // packed.nbytes)
    x = np.full((8, columns), 0.3, np.float32)
    y = np.empty((8, rows), np.float32)

    def dot(batch: int, repeats: int) -> float:
        return seconds(
            lambda: _core.cpu_matmul(
                isa, kind, rows, columns, packed, x[:batch], y[:batch], times=repeats
            )
        )

    dots: list[float] = []
    reads: list[float] = []
    tiles: list[float] = []
    amount = packed.nbytes * times / 1e9
    eighth = max(1, times // 8)
    for _ in range(ROUNDS):
        dots.append(amount / dot(1, times))
        reads.append(amount / seconds(lambda: _core.cpu_read(isa, packed, times)))
        tiles.append(8 * packed.nbytes * eighth / 1e9 / dot(8, eighth))
    return {
        "isa": isa,
        "kind": kind,
        "shape": [rows, columns],
        "mb": round(packed.nbytes / 1e6, 1),
        "dot_gb_s": spread(dots, 2),
        "read_gb_s": spread(reads, 2),
        "ratio": round(statistics.median(a / b for a, b in zip(dots, reads, strict=True)), 3),
        "tile": round(statistics.median(a / b for a, b in zip(tiles, dots, strict=True)), 2),
    }


def main() -> None:
    """Prints a line a row and writes results/cpu_kernels.json."""
    rows: list[dict[str, Any]] = []
    for kind in sys.argv[1:] or KINDS:
        for isa in _core.cpu_isas()[1:] or _core.cpu_isas():
            for name, (height, columns) in SHAPES.items():
                if name != "memory" and kind not in ("q4_1", "q8_0"):
                    continue
                row = measure(isa, kind, height, columns, memory=name == "memory")
                rows.append({"case": name, **row})
                print(
                    f"{kind:5} {isa:7} {name:10} dot {row['dot_gb_s']['median']:6.1f} GB/s, "
                    f"read {row['read_gb_s']['median']:6.1f}, ratio {row['ratio']:.2f}, "
                    f"tile of 8 x{row['tile']:.2f}",
                    flush=True,
                )
    figures = {
        "what": "packed dots of one thread against a plain read of the same bytes, alternating",
        "machine": machine(),
        "versions": versions("numpy"),
        "load": [round(value, 2) for value in os.getloadavg()],
        "rows": rows,
    }
    print(f"wrote {write('cpu_kernels', figures)}")


if __name__ == "__main__":
    main()
