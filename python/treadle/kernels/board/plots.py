"""The three pictures: fast_p with bands, the roofline, speed over size with its crossovers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from treadle.kernels.board.facts import Facts, Run, ceilings
from treadle.kernels.board.standings import GRID, Standing, curve
from treadle.kernels.board.svg import SERIES, Figure, Scale, log_scale, share_scale
from treadle.kernels.check import sizes

Link = Callable[[Run], str]
_TICKS = ((0.25, "¼×"), (0.5, "½×"), (1.0, "1×"), (2.0, "2×"), (4.0, "4×"), (8.0, "8×"),
          (16.0, "16×"))  # fmt: skip


def fast_p(rows: Sequence[Standing], title: str) -> Figure | None:
    """One curve a standing, the first `SERIES` of them; None for none."""
    shown = [row for row in rows if row.total][:SERIES]
    if not shown:
        return None
    fastest = max((r for row in shown for r in row.ratios if r), default=1.0)
    end = next((p for p, _ in _TICKS if p >= max(4.0, fastest * 1.1)), 16.0)
    grid = [p for p in GRID if p <= end]
    ticks = tuple(t for t in _TICKS if t[0] <= end)
    x = Scale(grid[0], end, "p: at least p times as fast as the baseline", ticks=ticks)
    figure = Figure(title, x, share_scale("share of all workloads"))
    figure.upright(1.0)
    curves = [curve(row) for row in shown]
    for i, one in enumerate(curves):
        pairs = (list(zip(grid, side, strict=False)) for side in (one.low, one.high))
        figure.band(i, *pairs)
    for i, one in enumerate(curves):
        figure.line(i, list(zip(grid, one.share, strict=False)))
        figure.legend(i, one.name)
    return figure


def roofline(facts: Facts, device: str, link: Link) -> tuple[Figure | None, int]:
    """Rate over intensity of the best run of each workload, by language; the count left out.

    What has no operations has no place here. A whisker is the interval of the paired ratio.
    """
    best: dict[tuple[str, str], Run] = {}
    for run in facts.latest:
        if run.device != device or run.ratio is None:
            continue
        place = (run.definition, run.uuid)
        if place not in best or best[place].latency > run.latency:
            best[place] = run
    points: list[tuple[str, float, float, Run]] = []
    for run in best.values():
        moved, operations = facts.moves(run.definition, run.axes)
        if moved and operations and run.latency:
            points.append((run.language, operations / moved, operations / run.latency * 1e3, run))
    if not points:
        return None, len(best)
    bandwidth, peak = ceilings(facts, device)
    x = log_scale([p[1] for p in points], "operations a byte", room=2.0)
    rates = [p[2] for p in points]
    if bandwidth:
        top = min(bandwidth * x.high, peak or math.inf)
        rates += [top, bandwidth * x.low]
    figure = Figure(f"Roofline of {device}", x, log_scale(rates, "operations a second", room=1.6))
    if bandwidth:
        bend = min(x.high, peak / bandwidth) if peak else x.high
        text = f"{_si(bandwidth)}B/s"
        if bend > x.low:
            figure.ceiling([(x.low, bandwidth * x.low), (bend, bandwidth * bend)], text)
        if peak and bend < x.high:
            start = max(bend, x.low)
            figure.ceiling([(start, peak), (x.high, peak)], f"{_si(peak)}op/s")
    languages = sorted({p[0] for p in points})
    for language, intensity, rate, run in points:
        low, high = (rate * side / (run.ratio or 1.0) for side in (run.low, run.high))
        tip = f"{run.solution}, {_axes(run)}: {run.latency * 1e3:.4g} µs"
        figure.point(languages.index(language), intensity, rate, low, high, tip=tip, href=link(run))
    for i, language in enumerate(languages):
        figure.legend(i, language)
    return figure, len(best) - len(points)


def over_size(
    facts: Facts, definition: str, device: str, order: Sequence[str], link: Link
) -> tuple[Figure | None, list[tuple[float, str, str]]]:
    """Time over size, a curve a solution, and where the fastest one changes: (size, from, to)."""
    runs = [
        r for r in facts.latest
        if r.definition == definition and r.device == device and r.ratio and r.latency
    ]  # fmt: skip
    label, size = _size(facts, definition)
    by: dict[str, dict[float, Run]] = {}
    for run in runs:
        at = size(run)
        old = by.setdefault(run.solution, {}).get(at)
        if at > 0 and (old is None or old.latency > run.latency):
            by[run.solution][at] = run
    curves = {name: sorted(by[name].items()) for name in order if by.get(name)}
    where = sorted({at for points in curves.values() for at, _ in points})
    if len(where) < 2:
        return None, []
    times = [r.latency * 1e3 for r in runs] + [r.baseline_latency * 1e3 for r in runs]
    binary = label not in ("bytes moved",)
    x = log_scale(where, label, base=2 if binary else 10)
    figure = Figure(f"{definition} on {device}", x, log_scale(times, "µs a call", room=1.5))
    found = crossovers({n: [(a, r.latency) for a, r in p] for n, p in curves.items()})
    for at, _, _ in found:
        figure.upright(at)
    bases: dict[float, list[float]] = {}
    for run in runs:
        if size(run) > 0:
            bases.setdefault(size(run), []).append(run.baseline_latency * 1e3)
    middle = [(at, sorted(v)[len(v) // 2]) for at, v in sorted(bases.items())]
    figure.line(SERIES - 1, middle, kind="step")
    for i, (name, points) in enumerate(list(curves.items())[: SERIES - 1]):
        figure.line(i, [(at, r.latency * 1e3) for at, r in points])
        for at, run in points:
            base = run.latency * 1e3 * (run.ratio or 1.0)
            low, high = base / run.high, base / run.low
            tip = f"{name}, {_axes(run)}: {run.latency * 1e3:.4g} µs"
            figure.point(i, at, run.latency * 1e3, low, high, tip=tip, href=link(run))
        figure.legend(i, name)
    figure.legend(SERIES - 1, "baseline")
    return figure, found


def crossovers(curves: dict[str, list[tuple[float, float]]]) -> list[tuple[float, str, str]]:
    """Sizes at which the fastest of these curves changes, between neighbouring measured sizes.

    Curves are lines in logarithms; only those measured at both ends of a gap take part.
    """
    tables = {name: dict(points) for name, points in curves.items()}
    where = sorted({at for table in tables.values() for at in table})
    found: list[tuple[float, str, str]] = []
    for left, right in pairwise(where):
        both = [name for name, table in tables.items() if left in table and right in table]
        if not both:
            continue
        first = min(both, key=lambda n: (tables[n][left], n))
        last = min(both, key=lambda n: (tables[n][right], n))
        if first == last:
            continue
        a = math.log(tables[last][left] / tables[first][left])
        b = math.log(tables[first][right] / tables[last][right])
        share = a / (a + b) if a + b > 0 else 0.5
        found.append((left * (right / left) ** share, first, last))
    return found


def _size(facts: Facts, definition: str) -> tuple[str, Callable[[Run], float]]:
    """What a workload's size is: its only free axis, else the bytes it moves."""
    one = facts.definitions[definition]
    free = sizes.free(one)
    if len(free) == 1:
        axis = free[0]
        return axis, lambda run: float(run.axes.get(axis, 0))
    return "bytes moved", lambda run: float(facts.moves(definition, run.axes)[0])


def _axes(run: Run) -> str:
    return " ".join(f"{name}={size}" for name, size in run.axes.items())


def _si(value: float) -> str:
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g} "
