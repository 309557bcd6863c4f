"""Tables: how solutions and authors stand on one device, over all workloads of a set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from treadle.kernels import stats
from treadle.kernels.board.facts import VERDICTS, Facts, Run

RESAMPLES = 500
KINDS = (*VERDICTS, "failed", "unmeasured")
SPREAD = 2.576
"""Half-widths of a 99 % interval in standard deviations."""
GRID = tuple(sorted({1.0, *(2.0 ** (i / 24) for i in range(-48, 97))}))
"""Values of p at which fast_p is drawn: a quarter to sixteen."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One solution, or all of one author's in one language, on one device.

    definition: the solution's, empty for an author's.
    mean, low, high: geometric mean of passing ratios, weighted by count, and its 95 % interval;
    None where nothing passed. deployable: the same over all workloads, a failure counting 1.
    counts: workloads by verdict, `failed` and `unmeasured`.
    """

    name: str
    definition: str
    author: str
    language: str
    device: str
    mean: float | None
    low: float
    high: float
    deployable: float
    counts: dict[str, int]
    total: int
    roof: float | None
    setup: float | None
    """Longest time in ms of preparing the weights, which no ratio contains; None without."""
    isolation: int | None
    timers: tuple[str, ...]
    baselines: tuple[str, ...]
    refused: tuple[str, ...]
    labels: tuple[str, ...]
    ratios: tuple[float | None, ...]
    """One a workload of the set; None: failed or not measured."""
    widths: tuple[float, ...]
    """Half-width of each ratio's interval, as a logarithm."""

    @property
    def covered(self) -> int:
        """Workloads that have a verdict, failures included."""
        return self.total - self.counts["unmeasured"]


def standing(
    facts: Facts,
    runs: Sequence[Run],
    wanted: Sequence[tuple[str, str]],
    device: str,
    name: str,
    definition: str = "",
) -> Standing:
    """Sums up runs over the workloads `wanted` (definition, uuid); one run a workload at most."""
    by = {(run.definition, run.uuid): run for run in runs}
    counts: dict[str, int] = dict.fromkeys(KINDS, 0)
    ratios: list[float | None] = []
    widths: list[float] = []
    weights = [float(facts.weight(*place)) for place in wanted]
    for place in wanted:
        run = by.get(place)
        kind = "unmeasured" if run is None else run.verdict or "failed"
        counts[kind] += 1
        ratios.append(run.ratio if run is not None else None)
        widths.append(math.log(run.high / run.low) / 2 if run is not None else 0.0)
    passed = [(r, w) for r, w in zip(ratios, weights, strict=True) if r is not None]
    mean: float | None = None
    low = high = 1.0
    if passed:
        mean, low, high = stats.geometric_mean([r for r, _ in passed], [w for _, w in passed])
    roofs = [(run.share, facts.weight(run.definition, run.uuid)) for run in runs if run.share]
    levels = [run.isolation for run in runs if run.ratio is not None]
    return Standing(
        name=name,
        definition=definition,
        author=runs[0].author,
        language=runs[0].language,
        device=device,
        mean=mean,
        low=low,
        high=high,
        deployable=_deployable(ratios, weights),
        counts=counts,
        total=len(wanted),
        roof=_mean(roofs),
        setup=max((r.setup for r in runs if r.setup is not None), default=None),
        isolation=None if not levels or None in levels else min(v for v in levels if v is not None),
        timers=_distinct(r.timer for r in runs if r.ratio is not None),
        baselines=_distinct(r.baseline for r in runs if r.ratio is not None),
        refused=_distinct(r.refused for r in runs if r.refused),
        labels=_distinct(label for r in runs for label in r.labels),
        ratios=tuple(ratios),
        widths=tuple(widths),
    )


def of_definition(facts: Facts, definition: str, device: str) -> list[Standing]:
    """Solutions of a definition, the most deployable first."""
    wanted = [(definition, uuid) for uuid in sorted(facts.workloads[definition])]
    groups: dict[str, list[Run]] = {}
    for run in facts.latest:
        if run.definition == definition and run.device == device:
            groups.setdefault(run.solution, []).append(run)
    made = [
        standing(facts, runs, wanted, device, name, definition) for name, runs in groups.items()
    ]
    return sorted(made, key=lambda s: (-s.deployable, -(s.mean or 0.0), s.name))


def of_authors(facts: Facts, table: dict[str, list[Standing]], device: str) -> list[Standing]:
    """Authors by language over every definition measured on a device.

    Where an author has several solutions of a definition, the most deployable one counts.
    """
    wanted = [(name, uuid) for name in sorted(table) for uuid in sorted(facts.workloads[name])]
    chosen: dict[tuple[str, str], set[str]] = {}
    for rows in table.values():
        seen: set[tuple[str, str]] = set()
        for row in rows:
            who = (row.author, row.language)
            if who not in seen:
                seen.add(who)
                chosen.setdefault(who, set()).add(row.name)
    made: list[Standing] = []
    for (author, language), names in chosen.items():
        runs = [r for r in facts.latest if r.device == device and r.solution in names]
        made.append(standing(facts, runs, wanted, device, f"{author} · {language}"))
    return sorted(made, key=lambda s: (-s.deployable, s.name))


@dataclass(frozen=True, slots=True)
class Curve:
    """fast_p at each value of `GRID`, with a 95 % band."""

    name: str
    share: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def curve(row: Standing, seed: int = 0) -> Curve:
    """fast_p of a standing; the band resamples workloads, and each ratio within its interval."""
    logs = np.array([math.log(r) if r else -math.inf for r in row.ratios])
    spread = np.array(row.widths) / SPREAD
    rng = np.random.default_rng([seed, len(logs)])
    picks = rng.integers(0, len(logs), (RESAMPLES, len(logs)))
    drawn = np.sort(logs[picks] + spread[picks] * rng.standard_normal(picks.shape), axis=1)
    shares = np.empty((RESAMPLES, len(GRID)))
    at = np.log(GRID) - 1e-12
    for i, one in enumerate(drawn):
        shares[i] = 1.0 - np.searchsorted(one, at, side="left") / len(logs)
    low, high = np.quantile(shares, [0.025, 0.975], axis=0)
    return Curve(
        name=row.name,
        share=tuple(stats.fast_p(row.ratios, p) for p in GRID),
        low=tuple(float(v) for v in low),
        high=tuple(float(v) for v in high),
    )


def _deployable(ratios: Sequence[float | None], weights: Sequence[float]) -> float:
    logs = [w * math.log(r) for r, w in zip(ratios, weights, strict=True) if r is not None]
    return math.exp(sum(logs) / sum(weights)) if weights else 1.0


def _mean(pairs: Sequence[tuple[float | None, int]]) -> float | None:
    good = [(math.log(share), weight) for share, weight in pairs if share]
    if not good:
        return None
    return math.exp(sum(s * w for s, w in good) / sum(w for _, w in good))


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))
