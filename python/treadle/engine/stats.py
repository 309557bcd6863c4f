"""Counters and histograms of one engine, in the terms the server's metrics use.

The loop thread alone writes the engine's numbers; readers take a consistent enough view without a
lock (each number is read once). Times are seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from msgspec import Struct, field

STEP_BOUNDS = (5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 5.0)
WAIT_BOUNDS = (1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0)
TOKEN_BOUNDS = (1, 4, 16, 64, 128, 256, 512, 1_024, 2_048, 4_096)


class Histogram(Struct):
    """Counts of values by upper bound; `counts` has one more entry than `bounds` (+Inf)."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list[int])
    sum: float = 0.0
    total: int = 0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float, times: int = 1) -> None:
        """Counts a value, or several equal ones."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times
        self.total += times

    def cumulative(self) -> list[tuple[str, int]]:
        """(upper bound, values up to it) pairs, the last bound "+Inf", as Prometheus wants them."""
        out: list[tuple[str, int]] = []
        running = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            running += count
            out.append(("+Inf" if bound == float("inf") else repr(float(bound)), running))
        return out


def _waits() -> Histogram:
    return Histogram(WAIT_BOUNDS)


def _steps() -> Histogram:
    return Histogram(STEP_BOUNDS)


PHASES = ("schedule", "launch", "wait", "collect", "masks")  # of a step, on the host


class Stats(Struct):
    """Everything the engine counts. Gauges are set once a step."""

    # gauges
    running: int = 0
    waiting: int = 0
    pages: int = 0
    pages_held: int = 0
    page_size: int = 0
    # counters
    steps: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    forced_tokens: int = 0  # of these, appended because a grammar left nothing else
    prefix_queries: int = 0  # prompt tokens looked up
    prefix_hits: int = 0  # of these, found
    preemptions: int = 0
    finished: Counter[str] = field(default_factory=Counter[str])  # choices by finish reason
    rejected: Counter[str] = field(default_factory=Counter[str])  # requests by error code
    mask_exposed_seconds: float = 0.0  # mask time of steps the device was done with too soon
    # histograms
    time_to_first_token: Histogram = field(default_factory=_waits)
    inter_token_latency: Histogram = field(default_factory=_steps)
    request_latency: Histogram = field(default_factory=_waits)
    queue_time: Histogram = field(default_factory=_waits)
    grammar_compile: Histogram = field(default_factory=_steps)
    mask_fill: Histogram = field(default_factory=_steps)
    iteration_tokens: Histogram = field(default_factory=lambda: Histogram(TOKEN_BOUNDS))
    step_seconds: dict[str, Histogram] = field(
        default_factory=lambda: {phase: Histogram(STEP_BOUNDS) for phase in PHASES}
    )

    @property
    def kv_usage(self) -> float:
        """Share of the KV pages that sequences hold, 0 to 1."""
        return self.pages_held / self.pages if self.pages else 0.0
