"""Draws a plan's tasks: as SVG (a row a worker, a column a phase, waits as lines by scope), as dot
for Graphviz, as lines of text."""

from __future__ import annotations

from html import escape

from treadle.mega.plan import Plan
from treadle.mega.records import NONE, Code, Scope, Task, TaskFlag

WIDTH, HEIGHT, GAP, LEFT, TOP = 132, 34, 44, 90, 64
_COLORS = {
    Code.EMBED: "#d9d9d9",
    Code.PREP: "#fdd49e",
    Code.LINEAR: "#a6cee3",
    Code.KV: "#fdbf6f",
    Code.ATTN: "#b2df8a",
    Code.FOLD: "#d5f0b8",
    Code.EXPERTS_UP: "#cab2d6",
    Code.EXPERTS_DOWN: "#e3d0ee",
    Code.KEYS: "#fb9a99",
    Code.SAMPLE: "#fbb4ae",
}
_SCOPES = {
    Scope.CTA: "#999999",
    Scope.GROUP: "#33a02c",
    Scope.GRID: "#1f78b4",
    Scope.SYSTEM: "#e31a1c",
}
MOST_WORKERS = 16
"""Rows drawn; a plan for more workers repeats itself."""


def svg(plan: Plan, segment: int | None = None) -> str:
    """One segment of a plan as an SVG text, by default the layer template (the longest repeat)."""
    segment = _template(plan) if segment is None else segment
    mine = _lists(plan, segment)
    workers = len(mine)
    phases = sorted({task.p0 for tasks in mine for task in tasks})
    wide = LEFT + len(phases) * (WIDTH + GAP)
    high = TOP + workers * (HEIGHT + 8) + 54
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" '
        f'viewBox="0 0 {wide} {high}" font-family="sans-serif" font-size="10">',
        f'<rect width="{wide}" height="{high}" fill="white"/>',
        _text(8, 18, _title(plan, segment), size=13),
        *_legend(high),
    ]
    for w, tasks in enumerate(mine):
        out.append(_text(8, _y(w) + 20, f"worker {w}"))
        seen: dict[int, int] = {}
        for task in tasks:
            column = phases.index(task.p0)
            nth = seen.get(task.p0, 0)
            total = sum(other.p0 == task.p0 for other in tasks)
            seen[task.p0] = nth + 1
            out += _box(plan, task, column, w, nth, total)
    for column, phase in enumerate(phases):
        out += _counters(plan, mine, column, phase)
    return "\n".join([*out, "</svg>\n"])


def dot(plan: Plan, segment: int | None = None) -> str:
    """One segment as a graph in Graphviz' language: tasks and counters are nodes, a signal leads
    from a task to a counter, a wait from a counter to a task."""
    segment = _template(plan) if segment is None else segment
    out = [
        "digraph plan {",
        "  rankdir=LR; node [shape=box, style=filled, fontname=sans, fontsize=10];",
        f'  label="{_title(plan, segment)}";',
    ]
    counters: dict[int, None] = {}
    for w, tasks in enumerate(_lists(plan, segment)):
        out.append(f'  subgraph cluster_{w} {{ label="worker {w}"; color="#bbbbbb";')
        for i, task in enumerate(tasks):
            color = _COLORS[Code(task.op)]
            out.append(f'    t{w}_{i} [label="{_label(task)}", fillcolor="{color}"];')
        chain = " -> ".join(f"t{w}_{i}" for i in range(len(tasks)))
        out.append(f'    {chain} [color="#bbbbbb"]; }}' if len(tasks) > 1 else "  }")
        for i, task in enumerate(tasks):
            for counter, _ in task.waits:
                counters[counter] = None
                out.append(f"  c{counter} -> t{w}_{i};")
            if task.sig != NONE:
                counters[task.sig] = None
                out.append(f"  t{w}_{i} -> c{task.sig};")
    for counter in counters:
        record = plan.counters[counter]
        color = _SCOPES[Scope(record.scope)]
        out.append(
            f'  c{counter} [shape=ellipse, color="{color}", fillcolor=white, '
            f'label="{counter}: need {record.need}"];'
        )
    return "\n".join([*out, "}\n"])


def text(plan: Plan, segment: int | None = None) -> str:
    """One segment's tasks, a line each: worker, work, weights, waits and signal."""
    segment = _template(plan) if segment is None else segment
    out = [_title(plan, segment)]
    for w, tasks in enumerate(_lists(plan, segment)):
        for task in tasks:
            site = plan.sites[task.p0]
            names = [plan.params[i] for i in site.w[: site.parts] if i != NONE]
            waits = ", ".join(f"{counter} >= {need}" for counter, need in task.waits)
            sig = "-" if task.sig == NONE else str(task.sig)
            out.append(
                f"worker {w:3}  {_label(task):22} {'+'.join(names):28} k {site.k:6} n {site.n:6}"
                f"  waits {waits or '-':24} signals {sig}"
            )
    return "\n".join([*out, ""])


def _template(plan: Plan) -> int:
    """The segment that repeats most: the layer."""
    repeats = [s.repeat for s in plan.segments]
    return repeats.index(max(repeats))


def _lists(plan: Plan, segment: int) -> list[tuple[Task, ...]]:
    """The tasks of one segment for each worker that is drawn."""
    bounds = plan.index[segment]
    workers = range(min(plan.workers, MOST_WORKERS))
    return [plan.tasks[bounds[w] : bounds[w + 1]] for w in workers]


def _title(plan: Plan, segment: int) -> str:
    repeat = plan.segments[segment].repeat
    what = f"one of {repeat} layers" if repeat > 1 else f"segment {segment}"
    ranks = f", {plan.shape.ranks} ranks" if plan.shape.ranks > 1 else ""
    return f"{plan.target}, {plan.workers} workers, {plan.shape.rows} rows{ranks}: {what}"


def _legend(high: int) -> list[str]:
    out: list[str] = []
    for i, (scope, color) in enumerate(_SCOPES.items()):
        x = LEFT + i * 110
        out.append(_line(x, high - 20, x + 24, high - 20, color))
        out.append(_text(x + 30, high - 16, f"scope {scope.name.lower()}"))
    return out


def _box(plan: Plan, task: Task, column: int, worker: int, nth: int, total: int) -> list[str]:
    height = HEIGHT / total
    x, y = _x(column), _y(worker) + nth * height
    site = plan.sites[task.p0]
    detail = f"site {task.p0}: k {site.k}, n {site.n}; waits {task.waits}; signals {task.sig}"
    dashed = ' stroke-dasharray="4 2"' if task.flags & TaskFlag.PACKET else ""
    return [
        f'<rect x="{x}" y="{y:.1f}" width="{WIDTH}" height="{height - 2:.1f}" rx="3" '
        f'fill="{_COLORS[Code(task.op)]}" stroke="#555"{dashed}>'
        f"<title>{escape(detail)}</title></rect>",
        _text(x + 6, y + height / 2 + 3, _label(task)),
    ]


def _label(task: Task) -> str:
    """Op, and its strips or share."""
    name = Code(task.op).name.lower()
    if task.w_tiles:
        return f"{name} {task.w_tile0}+{task.w_tiles}"
    return f"{name} {task.share[0]}/{task.share[1]}" if task.share[1] > 1 else name


def _counters(plan: Plan, mine: list[tuple[Task, ...]], column: int, phase: int) -> list[str]:
    """Lines from a phase's signallers to a knot in the gap, and on to the next column."""
    out: list[str] = []
    knots: dict[int, list[int]] = {}
    for w, tasks in enumerate(mine):
        for task in tasks:
            if task.p0 == phase and task.sig != NONE:
                knots.setdefault(task.sig, []).append(w)
    for counter, workers in knots.items():
        color = _SCOPES[Scope(plan.counters[counter].scope)]
        x0, x1 = _x(column) + WIDTH, _x(column) + WIDTH + GAP
        x, y = (x0 + x1) / 2, sum(_y(w) + HEIGHT / 2 for w in workers) / len(workers)
        for w in workers:
            out.append(_line(x0, _y(w) + HEIGHT / 2, x, y, color))
        waiting = [
            w
            for w, tasks in enumerate(mine)
            for t in tasks
            if (counter, plan.counters[counter].need) in t.waits
        ]
        for w in waiting or workers:
            out.append(_line(x, y, x1, _y(w) + HEIGHT / 2, color))
        out.append(f'<circle cx="{x}" cy="{y:.1f}" r="4" fill="{color}"/>')
        out.append(_text(x - 14, TOP - 10, f"need {plan.counters[counter].need}"))
    return out


def _line(x0: float, y0: float, x1: float, y1: float, color: str) -> str:
    return f'<line x1="{x0}" y1="{y0:.1f}" x2="{x1}" y2="{y1:.1f}" stroke="{color}"/>'


def _text(x: float, y: float, text: str, size: int = 10) -> str:
    return f'<text x="{x}" y="{y:.1f}" font-size="{size}">{escape(text)}</text>'


def _x(column: int) -> int:
    return LEFT + column * (WIDTH + GAP)


def _y(worker: int) -> int:
    return TOP + worker * (HEIGHT + 8)
