"""The template engine of the pages: everything escaped, numbers written one way, names as paths."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import minijinja

from treadle.kernels.board import svg
from treadle.kernels.board.facts import Run
from treadle.kernels.board.standings import KINDS, Standing

TEMPLATES = Path(__file__).parent / "templates"
MAX_TEXT = 64 << 10
_LABELS = {
    "delegate": "calls a library for the work",
    "nondeterministic": "the same input gave answers that differ within the tolerance",
}


def engine() -> minijinja.Environment:
    """Templates by name; a name that is not given is an error, never an empty place."""
    return minijinja.Environment(
        loader=lambda name: (TEMPLATES / name).read_text(encoding="utf-8"),
        auto_escape_callback=lambda _name: "html",
        undefined_behavior="strict",
        trim_blocks=True,
        lstrip_blocks=True,
        filters={
            "anchor": _anchor, "bare": _bare, "bare3": _bare3, "capped": _capped,
            "counted": _counted, "gathered": _gathered, "meaning": _meaning, "pct": percent,
            "ratio": _ratio, "round3": _round3, "shares": _shares, "strip": _strip,
            "time": _time, "url": _url, "without": _without, "words": _words,
        },
    )  # fmt: skip


def path(kind: str, name: str, ending: str = "html") -> str:
    """Where the page of a name lies. Names are untrusted: other letters become a hash."""
    plain = re.sub(r"[^A-Za-z0-9_.\-]", "-", name)[:80].lstrip(".")
    if plain != name:
        plain += f"~{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"
    return f"{kind}/{plain}.{ending}"


def percent(value: float) -> str:
    """A share: 2.5 %, 63 %."""
    return f"{100 * value:.1f} %" if value < 0.0995 else f"{100 * value:.0f} %"


def _url(name: str, kind: str) -> str:
    return path(kind, name)


def _anchor(name: str) -> str:
    return path("d", name).removeprefix("d/").removesuffix(".html")


def _bare(value: float) -> str:
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def _bare3(value: float) -> str:
    return f"{value:.3f}"


def _round3(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.10g}".replace(",", " ")


def _ratio(value: float) -> str:
    return f"{_bare(value)}×"


def _time(ms: float) -> str:
    for size, unit in ((1e3, "s"), (1.0, "ms"), (1e-3, "µs")):
        if ms >= size:
            return f"{_digits(ms / size)} {unit}"
    return f"{_digits(ms * 1e6)} ns"


def _digits(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _words(status: str) -> str:
    return status.replace("_", " ").lower()


def _meaning(label: str) -> str:
    return _LABELS.get(label, label)


def _capped(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "\n… left out …"


def _without(row: Standing) -> str:
    """A solution's name, short: our own names repeat their definition's."""
    return row.name.removesuffix(f"_{row.definition}")


def _counted(row: Standing) -> str:
    found = [f"{row.counts[k]} {k.lower()}" for k in KINDS if row.counts[k]]
    return f"{', '.join(found)} of {row.total}"


def _gathered(rows: Sequence[Standing], field: str) -> list[str]:
    return sorted({text for row in rows for text in getattr(row, field)})


def _strip(row: Standing | Run) -> str:
    middle = row.mean if isinstance(row, Standing) else row.ratio
    return minijinja.safe(svg.strip(row.low, middle or 1.0, row.high))


def _shares(row: Standing) -> str:
    return minijinja.safe(svg.shares([(kind.lower(), row.counts[kind]) for kind in KINDS]))
