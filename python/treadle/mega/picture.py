"""One page of SVG: where the time of real steps went, by kind of work and over time."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from statistics import median

from treadle.mega.timeline import Span, Step

WIDE, LEFT, BAR = 1120, 100, 1000
_ROW, _LANE = 17, 30
_COLORS = {
    "embed": "#d9d9d9",
    "prep": "#fdd49e",
    "linear": "#80b1d3",
    "kv": "#fdbf6f",
    "attn": "#8fce6a",
    "fold": "#d5f0b8",
    "experts_up": "#bc8fd0",
    "experts_down": "#dcc3ea",
    "sample": "#fb8072",
    "wait": "#f2f2f2",
    "idle": "#ffffff",
    "between": "#c8c8c8",
}
_LINEARS = ("#80b1d3", "#c6dbef", "#6baed6", "#9ecae1", "#5fa2ce", "#deebf7")
_MEANING = {
    "wait": "wait (other workers)",
    "idle": "idle (host)",
    "between": "between tasks",
}


def picture(found: Sequence[Step], workers: int, rows: Sequence[int], title: str) -> str:
    """A panel for every plan that ran: shares of the workers' time, the median step's timeline and
    one of its layers enlarged. rows: tokens that each plan takes."""
    panels: list[str] = []
    y = 44.0
    for plan in sorted({step.plan for step in found}):
        own = sorted((step for step in found if step.plan == plan), key=_length)
        lines, y = _panel(own, workers, rows[plan], y)
        panels += lines
    high = round(y + 10)
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDE}" height="{high}" '
        f'viewBox="0 0 {WIDE} {high}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDE}" height="{high}" fill="white"/>',
        _text(14, 24, title, size=15),
    ]
    return "\n".join([*head, *panels, "</svg>\n"])


def _length(step: Step) -> float:
    return step.end - step.start


def _panel(own: Sequence[Step], workers: int, rows: int, y: float) -> tuple[list[str], float]:
    """The lines of one plan's panel and the height where the next may begin."""
    middle = own[len(own) // 2]
    length = _length(middle)
    colors = _colors(own)
    out = [
        _text(
            14, y + 14,
            f"plan of {rows} rows: {len(own)} steps, median {median(map(_length, own)):,.0f} µs, "
            f"{_length(own[0]):,.0f} to {_length(own[-1]):,.0f}; below: shares of all steps, "
            f"then step {middle.number}", size=12,
        )
    ]  # fmt: skip
    lines, y = _shares(own, colors, y + 24)
    out += lines
    out.append(_text(14, y + 16, f"step {middle.number}: {length:,.0f} µs"))
    lines, y = _lanes(middle.spans, workers, (middle.start, middle.end), colors, y + 22)
    out += lines
    layer = _layer(middle)
    if layer is not None:
        number, start, end = layer
        text = f"layer {number} of it: {end - start:,.0f} µs"
        out.append(_text(14, y + 16, text))
        inside = [s for s in middle.spans if s.end > start and s.start < end]
        lines, y = _lanes(inside, workers, (start, end), colors, y + 22)
        out += lines
    return out, y + 26


def _colors(own: Sequence[Step]) -> dict[str, str]:
    """A colour for every kind of share; the linears of a layer get shades of one."""
    kinds = dict.fromkeys(kind for step in own for kind in step.by)
    linears = [kind for kind in kinds if kind.startswith("linear")]
    shades = {kind: _LINEARS[i % len(_LINEARS)] for i, kind in enumerate(linears)}
    return {kind: shades.get(kind) or _COLORS.get(kind, "#eeeeee") for kind in kinds}


def _shares(own: Sequence[Step], colors: dict[str, str], y: float) -> tuple[list[str], float]:
    """A bar a kind of work, longest first: its share of all workers' time and µs a step."""
    totals: dict[str, float] = {}
    for step in own:
        for kind, spent in step.by.items():
            totals[kind] = totals.get(kind, 0.0) + spent
    whole = sum(totals.values()) or 1.0
    out: list[str] = []
    for kind, spent in sorted(totals.items(), key=lambda pair: -pair[1]):
        share = spent / whole
        name = _MEANING.get(kind, kind)
        out.append(_text(LEFT + 130, y + 12, name, anchor="end"))
        out.append(_box(LEFT + 138, y + 2, 600 * share, _ROW - 4, colors[kind], name))
        each = spent / len(own)
        figures = f"{share:6.1%}   {each:,.0f} µs of a step's worker time"
        out.append(_text(LEFT + 146 + 600 * share, y + 12, figures))
        y += _ROW
    return out, y


def _lanes(
    found: Sequence[Span],
    workers: int,
    reach: tuple[float, float],
    colors: dict[str, str],
    y: float,
) -> tuple[list[str], float]:
    """A lane a worker; time from left to right, with labels where they fit."""
    start, end = reach
    scale = BAR / max(end - start, 1e-9)
    out: list[str] = []
    for worker in range(workers):
        top = y + worker * (_LANE + 4)
        out.append(_text(LEFT - 8, top + 19, f"worker {worker}", anchor="end"))
        out.append(_box(LEFT, top, BAR, _LANE, "#c8c8c8", "between tasks"))
    for span in found:
        left = LEFT + (max(span.start, start) - start) * scale
        wide = (min(span.end, end) - max(span.start, start)) * scale
        if wide <= 0:
            continue
        top = y + span.worker * (_LANE + 4)
        kind = f"linear {span.label}" if span.kind == "linear" else span.kind
        where = f" of layer {span.layer}" if span.layer >= 0 else ""
        color = colors.get(kind, "#eeeeee")
        detail = f"{kind}{where}: {span.end - span.start:,.1f} µs"
        out.append(_box(left, top, wide, _LANE, color, detail))
        label = span.label if span.kind == "linear" else span.kind
        if wide > 6.5 * len(label) + 4:
            out.append(_text(left + 4, top + 19, label))
    y += workers * (_LANE + 4)
    for tick in range(11):
        x = LEFT + BAR * tick / 10
        out.append(f'<line x1="{x}" y1="{y}" x2="{x}" y2="{y + 4}" stroke="#555"/>')
        out.append(_text(x, y + 15, f"{(end - start) * tick / 10:,.0f}", anchor="middle"))
    return out, y + 18


def _layer(step: Step) -> tuple[int, float, float] | None:
    """The middle layer of a step: its number, first start and last end."""
    numbers = sorted({span.layer for span in step.spans if span.layer >= 0})
    if not numbers:
        return None
    number = numbers[len(numbers) // 2]
    own = [span for span in step.spans if span.layer == number]
    return number, min(s.start for s in own), max(s.end for s in own)


def _box(x: float, y: float, wide: float, high: float, color: str, detail: str) -> str:
    return (
        f'<rect x="{x:.2f}" y="{y:.1f}" width="{max(wide, 0.2):.2f}" height="{high}" '
        f'fill="{color}" stroke="#777" stroke-width="{0.4 if wide > 3 else 0}">'
        f"<title>{escape(detail)}</title></rect>"
    )


def _text(x: float, y: float, text: str, size: int = 11, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )
