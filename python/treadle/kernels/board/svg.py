"""Figures as SVG text: log axes, bands, lines, points with whiskers, a legend; the same every time.

Colours are classes (`s0` to `s7`) that the page's style sheet fills, so that a figure follows the
page into the dark. Sizes are in user units of a box 640 wide. Every text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 76, 22, 44, 70
LEGEND_ROW = 26
SERIES = 8
MAX_LABEL = 46

Points = Sequence[tuple[float, float]]

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_FINER = ((1, 2, 5), (1, 2, 3, 5, 7), (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9))


def number(value: float) -> str:
    """A coordinate with one decimal at most."""
    text = f"{value:.1f}"
    return "0" if text in ("0.0", "-0.0") else text.removesuffix(".0")


def short(value: float) -> str:
    """A tick: 10⁻⁵, 0.25, 16, 40k, 2M, 1G, 3T."""
    if 0 < abs(value) < 1e-3:
        power = math.floor(math.log10(abs(value)) + 1e-9)
        first = "" if abs(value / 10.0**power - 1) < 1e-6 else f"{value / 10.0**power:g}·"
        return f"{first}10⁻{str(-power).translate(_RAISED)}"
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:g}"


@dataclass(frozen=True, slots=True)
class Scale:
    """One axis. low < high, both positive where `log`; ticks: values and their texts."""

    low: float
    high: float
    label: str
    log: bool = True
    ticks: tuple[tuple[float, str], ...] = ()

    def at(self, value: float) -> float:
        """Share of the way from low to high, kept within the axis."""
        if self.log:
            value = max(value, self.low * 1e-9)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, share))


def log_scale(values: Sequence[float], label: str, *, base: int = 10, room: float = 1.25) -> Scale:
    """An axis around positive values, a tick at powers of `base`, thinned to eight at most."""
    good = [v for v in values if v > 0 and math.isfinite(v)] or [1.0]
    low, high = min(good) / room, max(good) * room
    first, last = math.ceil(math.log(low, base)), math.floor(math.log(high, base))
    steps = list(range(first, last + 1))
    picks = [float(base) ** e for e in steps[:: max(1, math.ceil(len(steps) / 8))]]
    if len(picks) < 3:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for finer in _FINER:
            picks = [m * 10.0**e for e in decades for m in finer if low <= m * 10.0**e <= high]
            if len(picks) >= 3:
                break
        else:
            picks = [min(good), max(good)]
    ticks = tuple((v, short(float(f"{v:.3g}"))) for v in dict.fromkeys(picks))
    return Scale(low, high, label, ticks=ticks)


def share_scale(label: str) -> Scale:
    """An axis from 0 to 100 %."""
    ticks = tuple((i / 4, f"{25 * i} %") for i in range(5))
    return Scale(0.0, 1.0, label, log=False, ticks=ticks)


@dataclass(slots=True)
class Figure:
    """Collects marks, then writes them: `text()` gives the element."""

    title: str
    x: Scale
    y: Scale
    _marks: list[str] = field(default_factory=list[str])
    _legend: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])

    def px(self, value: float) -> float:
        """Where x lies, from the left edge."""
        return LEFT + self.x.at(value) * (WIDTH - LEFT - RIGHT)

    def py(self, value: float) -> float:
        """Where y lies, from the upper edge."""
        return HEIGHT - BOTTOM - self.y.at(value) * (HEIGHT - TOP - BOTTOM)

    def band(self, series: int, lower: Points, upper: Points) -> None:
        """The area between two curves."""
        path = self._path([*upper, *reversed(lower)])
        if path:
            self._marks.append(f'<path class="band {_class(series)}" d="{path}Z"/>')

    def line(self, series: int, points: Points, *, kind: str = "line") -> None:
        """A polyline; kind `step` for the fine print, such as a baseline."""
        path = self._path(points)
        if path:
            self._marks.append(f'<path class="{kind} {_class(series)}" d="{path}"/>')

    def point(
        self, series: int, x: float, y: float, low: float, high: float, *, tip: str, href: str = ""
    ) -> None:
        """A dot with a vertical whisker from low to high; `tip` shows on hovering."""
        px, py = number(self.px(x)), number(self.py(y))
        top, bottom = number(self.py(high)), number(self.py(low))
        mark = f'<g class="{_class(series)}"><title>{escape(tip)}</title>'
        if top != bottom:
            mark += f'<path class="whisker" d="M{px} {bottom}V{top}"/>'
        mark += f'<circle cx="{px}" cy="{py}" r="4.5"/></g>'
        self._marks.append(f'<a href="{escape(href)}">{mark}</a>' if href else mark)

    def upright(self, x: float, text: str = "") -> None:
        """A dotted line across the figure at x, with a text beside its upper end."""
        px = self.px(x)
        self._marks.append(f'<path class="rule" d="M{number(px)} {TOP}V{HEIGHT - BOTTOM}"/>')
        if text:
            near = px > WIDTH - 150
            shift, anchor = (-7, "end") if near else (7, "start")
            self._marks.append(
                f'<text class="note" x="{number(px + shift)}" y="{TOP + 16}" '
                f'text-anchor="{anchor}">{escape(text)}</text>'
            )

    def ceiling(self, points: Points, text: str) -> None:
        """A limit nothing can pass: a leg with a text above it, near its outer end."""
        path = self._path(points)
        if not path:
            return
        self._marks.append(f'<path class="ceiling" d="{path}"/>')
        (x0, y0), (x1, y1) = ((self.px(a), self.py(b)) for a, b in (points[0], points[-1]))
        turn = math.degrees(math.atan2(y1 - y0, x1 - x0))
        sloped = abs(turn) > 1
        tx, ty = (x0 + 0.04 * (x1 - x0), y0 + 0.04 * (y1 - y0) - 8) if sloped else (x1, y1 - 9)
        self._marks.append(
            f'<text class="note" x="{number(tx)}" y="{number(ty)}" '
            f'text-anchor="{"start" if sloped else "end"}" '
            f'transform="rotate({number(turn)} {number(tx)} {number(ty)})">{escape(text)}</text>'
        )

    def legend(self, series: int, text: str) -> None:
        """One row below the figure."""
        cut = text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 1] + "…"
        self._legend.append((series, cut))

    def text(self, *, style: str = "") -> str:
        """The element; `style`: rules for a file of its own, none inside a page."""
        height = HEIGHT + LEGEND_ROW * len(self._legend)
        space = ' xmlns="http://www.w3.org/2000/svg"' if style else ""
        head = f'<svg{space} class="figure" viewBox="0 0 {WIDTH} {height}" role="img">'
        rules = f"<style>{style}</style>" if style else ""
        rows = "".join(self._legend_row(i, *row) for i, row in enumerate(self._legend))
        title = f"<title>{escape(self.title)}</title>"
        return "".join([head, title, rules, *self._axes(), *self._marks, rows, "</svg>"])

    def _axes(self) -> list[str]:
        floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        out: list[str] = []
        for value, text in self.y.ticks:
            y = number(self.py(value))
            out.append(f'<path class="grid" d="M{LEFT} {y}H{right}"/>')
            out.append(f'<text class="tick" x="{LEFT - 9}" y="{y}" dy=".35em" '
                       f'text-anchor="end">{escape(text)}</text>')  # fmt: skip
        for value, text in self.x.ticks:
            x = number(self.px(value))
            out.append(f'<path class="grid" d="M{x} {TOP}V{floor}"/>')
            out.append(f'<text class="tick" x="{x}" y="{floor + 29}" '
                       f'text-anchor="middle">{escape(text)}</text>')  # fmt: skip
        out.append(f'<path class="axis" d="M{LEFT} {floor}H{right}"/>')
        middle = number((LEFT + right) / 2)
        out.append(f'<text class="label" x="{middle}" y="{floor + 58}" '
                   f'text-anchor="middle">{escape(self.x.label)}</text>')  # fmt: skip
        out.append(f'<text class="label" x="0" y="18">{escape(self.y.label)}</text>')
        return out

    def _legend_row(self, row: int, series: int, text: str) -> str:
        y = HEIGHT + LEGEND_ROW * row + 8
        return (
            f'<g class="{_class(series)}"><path class="line" d="M{LEFT} {y}H{LEFT + 22}"/>'
            f'<circle cx="{LEFT + 11}" cy="{y}" r="4.5"/></g><text class="key" '
            f'x="{LEFT + 32}" y="{y}" dy=".35em">{escape(text)}</text>'
        )

    def _path(self, points: Points) -> str:
        good = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        pairs = (f"{number(self.px(x))} {number(self.py(y))}" for x, y in good)
        return "M" + "L".join(pairs) if len(good) > 1 else ""


def strip(low: float, middle: float, high: float, *, reach: float = 4.0) -> str:
    """A ratio with its interval, small enough for a table: 1 in the middle, `reach` at the end."""

    def at(value: float) -> str:
        share = math.log(max(value, 1e-9)) / math.log(reach)
        return number(60 + 56 * min(1.0, max(-1.0, share)))

    side = "fast" if low > 1 else "slow" if high < 1 else "same"
    return (
        f'<svg class="strip {side}" viewBox="0 0 120 16" aria-hidden="true">'
        f'<path class="one" d="M60 1V15"/><path class="span" d="M{at(low)} 8H{at(high)}"/>'
        f'<circle cx="{at(middle)}" cy="8" r="4"/></svg>'
    )


def shares(parts: Sequence[tuple[str, int]]) -> str:
    """Counts as one divided bar; the names become classes."""
    total, at, out = sum(count for _, count in parts) or 1, 0.0, ""
    for name, count in parts:
        wide = 120 * count / total
        if count:
            out += f'<path class="{escape(name)}" d="M{number(at)} 6H{number(at + wide)}"/>'
        at += wide
    return f'<svg class="shares" viewBox="0 0 120 12" aria-hidden="true">{out}</svg>'


def _class(series: int) -> str:
    return f"s{series % SERIES}"
