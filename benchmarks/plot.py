"""Small line charts as SVG, without a plotting library: panels side by side with log axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

# Okabe and Ito's colours, which all eyes tell apart; dashes for print.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "1 2")
FONT = "font-family='DejaVu Sans, Verdana, sans-serif'"
WIDTH, HEIGHT = 330, 250  # of one panel's plot area
LEFT, TOP, RIGHT, BOTTOM = 66, 66, 18, 60


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart: series of (x, y > 0) by name. `x_ticks` are (x, label); `x_log` as it says."""

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    x_ticks: Sequence[tuple[float, str]]
    x_log: bool = False
    marks: bool = False


def write(path: Path, title: str, note: str, panels: Sequence[Panel]) -> None:
    """Writes the panels side by side with one legend. Same data, same bytes."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.series))
    step = LEFT + WIDTH + RIGHT
    wide, high = step * len(panels), TOP + HEIGHT + BOTTOM
    out = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {wide} {high}' "
        f"width='{wide}' height='{high}' {FONT} font-size='11'>",
        f"<rect width='{wide}' height='{high}' fill='white'/>",
        text(LEFT, 18, title, size=14, weight="bold"),
        text(LEFT, high - 6, note, size=9, fill="#555"),
    ]
    place = LEFT
    for name in names:
        stroke = _stroke(names.index(name))
        out.append(f"<line x1='{place}' y1='33' x2='{place + 26}' y2='33' {stroke}/>")
        out.append(text(place + 32, 37, name))
        place += 50 + 7 * len(name)
    for number, panel in enumerate(panels):
        out += _panel(panel, number * step + LEFT, names)
    out.append("</svg>")
    path.write_text("\n".join(out) + "\n", encoding="utf-8")


def text(
    x: float, y: float, words: str, *, anchor: str = "start", size: int = 11,
    fill: str = "#111", weight: str = "normal", turn: bool = False,
) -> str:  # fmt: skip
    """A line of text."""
    turned = f" transform='rotate(-90 {x:.1f} {y:.1f})'" if turn else ""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}' fill='{fill}' "
        f"font-weight='{weight}'{turned}>{escape(words)}</text>"
    )


def amount(value: float) -> str:
    """A tick's label: 0.1, 10, 1 k, 1 M."""
    for bound, unit in ((1e6, " M"), (1e3, " k")):
        if value >= bound:
            return f"{value / bound:g}{unit}"
    return f"{value:g}"


def _stroke(number: int) -> str:
    dash = DASHES[number % len(DASHES)]
    dashed = f" stroke-dasharray='{dash}'" if dash else ""
    return f"stroke='{COLOURS[number % len(COLOURS)]}' stroke-width='2' fill='none'{dashed}"


def _panel(panel: Panel, left: float, names: Sequence[str]) -> list[str]:
    """The panel's SVG, its plot area beginning at `left`."""
    values = [y for points in panel.series.values() for _, y in points if y > 0]
    low = math.floor(math.log10(min(values, default=1)))
    top = max(math.ceil(math.log10(max(values, default=10))), low + 1)
    at = math.log10 if panel.x_log else float
    first, last = at(panel.x_ticks[0][0]), at(panel.x_ticks[-1][0])

    def x_of(x: float) -> float:
        return left + WIDTH * (at(x) - first) / (last - first)

    def y_of(y: float) -> float:
        return TOP + HEIGHT * (top - math.log10(max(y, 10.0**low))) / (top - low)

    out = [text(left, TOP - 8, panel.title, weight="bold")]
    for decade in range(low, top + 1):
        y = y_of(10.0**decade)
        out.append(f"<path d='M{left} {y:.1f}H{left + WIDTH}' stroke='#ddd'/>")
        out.append(text(left - 6, y + 4, amount(10.0**decade), anchor="end"))
    for x, label in panel.x_ticks:
        out.append(f"<path d='M{x_of(x):.1f} {TOP}V{TOP + HEIGHT}' stroke='#eee'/>")
        out.append(text(x_of(x), TOP + HEIGHT + 16, label, anchor="middle"))
    out.append(
        f"<rect x='{left}' y='{TOP}' width='{WIDTH}' height='{HEIGHT}' fill='none' stroke='#999'/>"
    )
    out.append(text(left + WIDTH / 2, TOP + HEIGHT + 34, panel.x_label, anchor="middle"))
    out.append(text(left - 48, TOP + HEIGHT / 2, panel.y_label, anchor="middle", turn=True))
    for name, points in panel.series.items():
        number = names.index(name)
        line = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
        out.append(f"<polyline points='{line}' {_stroke(number)}/>")
        if panel.marks:
            colour = COLOURS[number % len(COLOURS)]
            out += [
                f"<circle cx='{x_of(x):.1f}' cy='{y_of(y):.1f}' r='3' fill='{colour}'/>"
                for x, y in points
            ]
    return out
