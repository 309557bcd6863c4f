"""Traces of the dataset as a picture: a bar for each solution, its time over torch's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from plot import COLOURS, FONT

ROW, LEFT, WIDTH, RIGHT, TOP = 15, 420, 430, 150, 64
LANGUAGES = ("triton", "cuda", "cpp", "python")


def form(line: dict[str, Any]) -> str:
    """What tells solutions of one definition apart: their language, and a variant's name."""
    kind = line["solution"].removesuffix(line["definition"]).removeprefix("treadle_")
    return kind.strip("_").replace("_", " ")


def write(path: Path, title: str, lines: Sequence[dict[str, Any]]) -> None:
    """Writes bars of `vs_torch`, log scale, with interval and share of the limit."""
    passed = [line for line in lines if line["status"] == "PASSED"]
    if not passed:
        return
    low = min(0.5, *(line["vs_torch"] for line in passed))
    high = max(2.0, *(line["vs_torch"] for line in passed))
    tall = TOP + ROW * len(passed) + 30

    def x(ratio: float) -> float:
        at = math.log(min(max(ratio, low), high) / low) / math.log(high / low)
        return LEFT + WIDTH * at

    out = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {LEFT + WIDTH + RIGHT} {tall}' "
        f"width='{LEFT + WIDTH + RIGHT}' height='{tall}' {FONT} font-size='10'>",
        "<rect width='100%' height='100%' fill='white'/>",
        f"<text x='12' y='22' font-size='14'>{escape(title)}</text>",
        "<text x='12' y='40'>times as fast as torch's solution (log scale); line: interval; "
        "right: microseconds a call, share of the memory or arithmetic limit</text>",
    ]
    for tick in (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64):
        if low <= tick <= high:
            out.append(f"<path d='M{x(tick):.1f} {TOP - 8}V{tall - 26}' stroke='#ddd'/>"
                       f"<text x='{x(tick):.1f}' y='{tall - 12}' text-anchor='middle'>"
                       f"{tick:g}</text>")  # fmt: skip
    for i, line in enumerate(passed):
        y = TOP + ROW * i
        language = next((n for n in LANGUAGES if f"_{n}_" in line["solution"]), "python")
        start, end = sorted((x(1.0), x(line["vs_torch"])))
        out.append(f"<text x='{LEFT - 8}' y='{y + 8}' text-anchor='end'>"
                   f"{escape(line['definition'])} · {line['rows']} · {escape(form(line))}</text>"
                   f"<rect x='{start:.1f}' y='{y}' width='{max(1.0, end - start):.1f}' height='9' "
                   f"fill='{COLOURS[LANGUAGES.index(language)]}'/>")  # fmt: skip
        if line["ci"]:
            out.append(f"<path d='M{x(line['ci'][0]):.1f} {y + 4.5}H{x(line['ci'][1]):.1f}' "
                       "stroke='#222'/>")  # fmt: skip
        out.append(f"<text x='{LEFT + WIDTH + 10}' y='{y + 8}'>{line['us']:.1f} us, "
                   f"{100 * line['roofline']:.0f} %</text>")  # fmt: skip
    path.write_text("\n".join([*out, "</svg>", ""]), "utf-8")
